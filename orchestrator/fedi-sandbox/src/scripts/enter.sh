# Becomes a process of the sandbox.
# $1 = cgroup folders (a:b), $2 = file of the network namespace,
# $3 = folder with resolv.conf and nsswitch.conf, $4.. = the command
set -eu
cgroups=$1 netns=$2 etc=$3
shift 3
IFS=:
for folder in $cgroups; do echo $$ >"$folder/cgroup.procs"; done
unset IFS
# Mounts of the machine go on arriving (slave), ours stay here.
exec nsenter --net="$netns" unshare --mount --propagation slave sh -euc '
  etc=$1
  shift
  for file in resolv.conf nsswitch.conf; do
    mount --bind "$etc/$file" "$(readlink -f "/etc/$file")"
  done
  exec "$@"
' sandbox-mounts "$etc" "$@"
