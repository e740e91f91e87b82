# nixos/modules/profiles/qemu-guest.nix: kernel modules for the initrd; nothing of it is read.
{ }
