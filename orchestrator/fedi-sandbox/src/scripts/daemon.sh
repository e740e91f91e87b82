# Starts a daemon of the sandbox: joins the cgroup first, so that whatever happens
# next can be killed with it, then leaves a child in a session of its own.
# $1 = enter.sh, $2 = cgroup folders (a:b), $3.. = the other arguments of enter.sh
set -eu
enter=$1 cgroups=$2
shift 2
IFS=:
for folder in $cgroups; do echo $$ >"$folder/cgroup.procs"; done
unset IFS
exec setsid --fork sh -c "$enter" sandbox-enter "$cgroups" "$@"
