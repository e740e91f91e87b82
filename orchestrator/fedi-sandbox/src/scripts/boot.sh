# Mounts a guest's disks and boots it; runs in a mount namespace of its own, so
# that the mounts end with the last process.
# $1 = cgroup folders (a:b), $2 = the guest's folder, $3 = the root that its image
# stands for or "-", $4 = machine name, $5 = uuid, $6 = hostname, $7 = network option
umask 022
cgroups=$1 dir=$2 lower=$3 machine=$4 uuid=$5 hostname=$6 network=$7

# An empty disk: the machine runs and nothing boots.
[ "$lower" != - ] || exec sleep infinity

disk=$dir/disk root=$dir/root
mkdir -p "$disk" "$root"
mount -o loop,noinit_itable "$dir/root.img" "$disk"
mkdir -p "$disk/upper" "$disk/work"
mount -t overlay -o "lowerdir=$lower,upperdir=$disk/upper,workdir=$disk/work" guest "$root"
# The second disk carries /var/lib, as on a NixOS guest of fedi. An empty one gets
# what the root has there, as it would be formatted on a real guest.
if [ -e "$dir/state.img" ]; then
  mkdir -p "$dir/state"
  mount -o loop,noinit_itable "$dir/state.img" "$dir/state"
  if [ ! -e "$dir/state/.seeded" ]; then
    cp -a "$root/var/lib/." "$dir/state/"
    touch "$dir/state/.seeded"
  fi
  mount --move "$dir/state" "$root/var/lib"
fi
if [ -d "$dir/seed" ]; then
  tar -C "$dir/seed" -c . | tar -C "$root" -x --no-overwrite-dir
  rm -rf "$dir/seed"
fi

# systemd-nspawn's own run-time files, private like everything else.
mkdir -p /run/systemd/nspawn
mount -t tmpfs nspawn /run/systemd/nspawn

# Exit status 133 is a reboot asked for by the guest.
status=133
while [ "$status" = 133 ]; do
  status=0
  sh -euc '
    IFS=:
    for folder in $1; do echo $$ >"$folder/cgroup.procs"; done
    unset IFS
    shift
    exec "$@"
  ' sandbox-machine "$cgroups" systemd-nspawn --quiet --directory="$root" --boot \
    --register=no --keep-unit --machine="$machine" --uuid="$uuid" --hostname="$hostname" \
    "$network" --console=pipe --settings=no --resolv-conf=off --timezone=off \
    --link-journal=no || status=$?
done
exit "$status"
