# The disk image that guests start from: no application, a dormant base. One file,
# `nixos.qcow2`, compressed inside, so that a hypervisor imports it as it is.
{
  lib,
  config,
  pkgs,
  modulesPath,
  ...
}:
{
  imports = [
    ../base
    ../contracts
    ./.
    (modulesPath + "/profiles/qemu-guest.nix")
  ];

  networking.hostName = "fedi-guest";

  # The machine that builds the image has it as its first virtio disk.
  boot.loader.grub.device = "/dev/vda";

  system.build.fediImage = import (modulesPath + "/../lib/make-disk-image.nix") {
    inherit lib config pkgs;
    format = "qcow2-compressed";
    partitionTableType = "legacy";
    diskSize = "auto";
    additionalSpace = "512M";
    copyChannel = false;
    label = "nixos";
  };
}
