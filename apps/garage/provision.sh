# Brings layout, keys and buckets of a single-node Garage to what the plan says, through
# the admin API (v2). Every step looks first, so that it can run at each start.
#
#   provision.sh PLAN.json     with $ADMIN (URL) and $HEADER (file with the authorization)
#
# Key secrets and the admin token go from file to file: never into an argument list.
set -euo pipefail

plan=$1

ask() { # ask METHOD PATH [body on standard input]
  local method=$1 path=$2
  shift 2
  curl --fail-with-body --silent --show-error --max-time 60 --request "$method" \
    --header "@$HEADER" --header 'Content-Type: application/json' "$ADMIN$path" "$@"
}

get() { ask GET "$1"; }
post() { ask POST "$1" --data-binary @-; }

# Garage answers its admin port before it has read its layout.
for attempt in $(seq 1 60); do
  if status=$(get /v2/GetClusterStatus); then break; fi
  if [ "$attempt" = 60 ]; then
    echo "Garage's admin API does not answer at $ADMIN" >&2
    exit 1
  fi
  sleep 1
done
node=$(jq --raw-output '.nodes[0].id' <<<"$status")

layout() {
  local now wanted
  now=$(get /v2/GetClusterLayout)
  wanted=$(jq --compact-output --arg id "$node" '{id: $id, zone: .zone, capacity: .capacity, tags: []}' "$plan")
  if jq --exit-status --argjson wanted "$wanted" \
    '(.stagedRoleChanges | length) == 0
     and any(.roles[]; .id == $wanted.id and .zone == $wanted.zone and .capacity == $wanted.capacity)' \
    <<<"$now" >/dev/null; then
    return
  fi
  echo "layout: this node gets zone $(jq --raw-output .zone "$plan") and its capacity"
  jq --compact-output '{roles: [.]}' <<<"$wanted" | post /v2/UpdateClusterLayout >/dev/null
  jq --compact-output '{version: (.version + 1)}' <<<"$now" | post /v2/ApplyClusterLayout >/dev/null
}

key() { # key NAME ID_FILE SECRET_FILE
  local id
  id=$(<"$2")
  if get "/v2/GetKeyInfo?id=$id" >/dev/null 2>&1; then
    return
  fi
  echo "key $1: imported"
  jq --null-input --arg name "$1" --rawfile id "$2" --rawfile secret "$3" \
    '{name: $name, accessKeyId: ($id | rtrimstr("\n")), secretAccessKey: ($secret | rtrimstr("\n"))}' |
    post /v2/ImportKey >/dev/null
}

bucket() { # bucket NAME
  local name=$1 wanted info id alias key_name
  wanted=$(jq --compact-output --arg name "$name" '.buckets[$name]' "$plan")
  if ! info=$(get "/v2/GetBucketInfo?globalAlias=$name" 2>/dev/null); then
    echo "bucket $name: made"
    info=$(jq --null-input --arg name "$name" '{globalAlias: $name}' | post /v2/CreateBucket)
  fi
  id=$(jq --raw-output .id <<<"$info")

  for key_name in $(jq --raw-output '.keys[]' <<<"$wanted"); do
    local key_id owner
    key_id=$(<"$(jq --raw-output --arg name "$key_name" '.keys[$name].id' "$plan")")
    owner=$(jq --arg name "$key_name" '.keys[0] == $name' <<<"$wanted")
    jq --null-input --arg bucket "$id" --arg key "$key_id" --argjson owner "$owner" \
      '{bucketId: $bucket, accessKeyId: $key, permissions: {read: true, write: true, owner: $owner}}' |
      post /v2/AllowBucketKey >/dev/null
  done

  jq --compact-output \
    '{websiteAccess: (if .website then {enabled: true, indexDocument: "index.html", errorDocument: null}
                      else {enabled: false, indexDocument: null, errorDocument: null} end),
      quotas: {maxObjects: null, maxSize: .quota}}' <<<"$wanted" |
    post "/v2/UpdateBucket?id=$id" >/dev/null

  for alias in $(jq --raw-output '.aliases[]' <<<"$wanted"); do
    if jq --exit-status --arg alias "$alias" '.globalAliases | index($alias)' <<<"$info" >/dev/null; then
      continue
    fi
    echo "bucket $name: also $alias"
    jq --null-input --arg bucket "$id" --arg alias "$alias" '{bucketId: $bucket, globalAlias: $alias}' |
      post /v2/AddBucketAlias >/dev/null
  done
}

layout
while read -r name id secret; do
  key "$name" "$id" "$secret"
done < <(jq --raw-output '.keys | to_entries[] | "\(.key) \(.value.id) \(.value.secret)"' "$plan")
for name in $(jq --raw-output '.buckets | keys[]' "$plan"); do
  bucket "$name"
done
