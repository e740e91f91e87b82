# Boots a guest in a mount and network namespace of its own; everything ends with it.
# $1 = cgroup folders (a:b), $2 = the guest's folder, $3 = the root below its overlay,
# $4 = machine name, $5 = size of the guest's disk in MiB
set -eu
cgroups=$1 dir=$2 lower=$3 machine=$4 size=$5

# The test that started us may be killed; then so are we.
[ "${FEDI_TEST_BOUND:-}" ] || FEDI_TEST_BOUND=1 exec setpriv --pdeathsig KILL \
  unshare --mount --net --propagation slave sh "$0" "$@"

IFS=:
for folder in $cgroups; do
  mkdir -p "$folder/launcher" "$folder/guest"
  echo $$ >"$folder/launcher/cgroup.procs"
done
unset IFS

ip link set lo up
ip link add br0 type bridge
ip address add 10.77.0.1/24 dev br0
ip link set br0 up

mkdir -p "$dir/disk" "$dir/root"
truncate -s "${size}M" "$dir/disk.img"
mkfs.ext4 -q -F "$dir/disk.img"
mount -o loop "$dir/disk.img" "$dir/disk"
mkdir "$dir/disk/upper" "$dir/disk/work"
mount -t overlay -o "lowerdir=$lower,upperdir=$dir/disk/upper,workdir=$dir/disk/work" guest "$dir/root"
tar -C "$dir/seed" -c . | tar -C "$dir/root" -x --no-overwrite-dir
mkdir -p /run/systemd/nspawn
mount -t tmpfs nspawn /run/systemd/nspawn
touch "$dir/ready"

# Exit status 133 is a restart that the guest asked for.
status=133
while [ "$status" = 133 ]; do
  status=0
  setpriv --pdeathsig KILL sh -euc '
    IFS=:
    for folder in $1; do echo $$ >"$folder/guest/cgroup.procs"; done
    unset IFS
    shift
    exec "$@"
  ' guest "$cgroups" systemd-nspawn --quiet --directory="$dir/root" --boot --register=no --keep-unit \
    --machine="$machine" --network-bridge=br0 --console=pipe --settings=no --resolv-conf=off \
    --timezone=off --link-journal=no || status=$?
done
exit "$status"
