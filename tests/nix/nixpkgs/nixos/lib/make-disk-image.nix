# nixos/lib/make-disk-image.nix: the arguments that fedi passes, and those that it could.
# Read in nixpkgs 4aa6836a648ca76c68866decf0c8965e36ec2a3b by way of
# nixos/modules/virtualisation/lxc-instance-common.nix and its like, which pass them.
{
  pkgs,
  lib,
  config,
  format,
  partitionTableType,
  diskSize ? "auto",
  additionalSpace ? "512M",
  copyChannel ? true,
  label ? "nixos",
  ...
}:
assert lib.elem format [
  "raw"
  "qcow2"
  "qcow2-compressed"
  "vdi"
  "vpc"
];
assert lib.elem partitionTableType [
  "none"
  "legacy"
  "legacy+gpt"
  "efi"
  "hybrid"
];
# Without a root there is nothing to make an image of.
assert config.fileSystems ? "/";
pkgs.runCommand "nixos-disk-image" { } ""
// {
  inherit
    format
    diskSize
    additionalSpace
    copyChannel
    label
    ;
}
