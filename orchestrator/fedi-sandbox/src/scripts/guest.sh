# Starts a guest: joins its cgroup first, so that whatever happens next can be
# killed with it, then leaves the launcher in a session of its own.
# $1 = boot.sh, $2 = cgroup folders (a:b), $3 = file of the network namespace,
# $4.. = the other arguments of boot.sh
set -eu
boot=$1 cgroups=$2 netns=$3
shift 3
IFS=:
for folder in $cgroups; do
  # Beside the machine's own group: cgroup v2 wants processes in leaves only.
  mkdir -p "$folder/launcher"
  echo $$ >"$folder/launcher/cgroup.procs"
done
unset IFS
exec setsid --fork nsenter --net="$netns" unshare --mount --propagation slave \
  sh -euc "$boot" sandbox-boot "$cgroups" "$@"
