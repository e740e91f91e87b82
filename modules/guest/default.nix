# A guest of fedi: a virtual machine with a root that grows, a second disk for all state,
# an address and a key from cloud-init, and the agent. `image.nix` makes the disk image
# that every guest starts from.
{
  lib,
  config,
  pkgs,
  ...
}:
let
  inherit (lib) mkDefault mkOption types;
  # Where nixpkgs' module says `mkDefault` itself: lists of equal priority would be joined.
  mkOpinion = lib.mkOverride 900;
  cfg = config.fedi.guest;
in
{
  imports = [ ./backup.nix ];

  options.fedi.guest = {
    enable = mkOption {
      type = types.bool;
      default = true;
      description = "Whether this system is a virtual machine that fedi made.";
    };
    package = mkOption {
      type = types.nullOr types.package;
      default = pkgs.fedi-guest or null;
      defaultText = lib.literalExpression "pkgs.fedi-guest";
      description = "The agent.";
    };
    stateDisk = {
      enable = mkOption {
        type = types.bool;
        default = true;
        description = "Whether state lies on a disk of its own.";
      };
      device = mkOption {
        type = types.str;
        default = "/dev/disk/by-id/scsi-0QEMU_QEMU_HARDDISK_drive-scsi1";
        description = "The state disk: the second drive. It is formatted when it is empty, never otherwise.";
      };
      fsType = mkOption {
        type = types.enum [
          "ext4"
          "xfs"
        ];
        default = "ext4";
        description = "File system that an empty state disk gets.";
      };
    };
  };

  config = lib.mkIf cfg.enable {
    boot = {
      growPartition = mkDefault true;
      loader.grub.device = mkDefault "/dev/sda";
      loader.timeout = mkDefault 1;
      # What a Proxmox guest boots from and talks to.
      initrd.availableKernelModules = [
        "virtio_net"
        "virtio_pci"
        "virtio_scsi"
        "virtio_blk"
        "sd_mod"
        "sr_mod"
      ];
      kernelParams = [ "console=ttyS0" ];
    };

    fileSystems = {
      "/" = {
        device = mkDefault "/dev/disk/by-label/nixos";
        fsType = mkDefault "ext4";
        autoResize = mkDefault true;
      };
    }
    # Mounted in the initrd, hence before any unit could write to the root in its place.
    // lib.optionalAttrs cfg.stateDisk.enable {
      "/var/lib" = {
        device = mkDefault cfg.stateDisk.device;
        fsType = mkDefault cfg.stateDisk.fsType;
        autoFormat = mkDefault true;
        autoResize = mkDefault true;
        neededForBoot = mkDefault true;
        options = mkDefault [
          "defaults"
          "noatime"
        ];
      };
    };

    services.qemuGuest.enable = mkDefault true;
    # cloud-init puts the first key there.
    services.openssh.authorizedKeysInHomedir = mkDefault true;

    # Address and key only: everything else is in the system that fedi activates.
    services.cloud-init = {
      enable = mkDefault true;
      network.enable = mkDefault true;
      settings = lib.mapAttrs (_: mkOpinion) {
        datasource_list = [
          "NoCloud"
          "ConfigDrive"
        ];
        preserve_hostname = true;
        disable_root = false;
        ssh_deletekeys = false;
        ssh_genkeytypes = [ ];
        # No user of its own making; root gets the key.
        users = [ ];
        cloud_init_modules = [
          "seed_random"
          "users-groups"
          "ssh"
        ];
        cloud_config_modules = [ ];
        cloud_final_modules = [ ];
      };
    };

    # The console shows the host key's fingerprint for people; fedi reads the public key
    # itself through the guest agent, from /etc/ssh/ssh_host_ed25519_key.pub.
    systemd.services.fedi-host-key = {
      description = "Show the SSH host key on the console";
      wantedBy = [ "multi-user.target" ];
      wants = [ "sshd-keygen.service" ];
      after = [ "sshd-keygen.service" ];
      path = [ pkgs.openssh ];
      script = ''
        ssh-keygen -l -f /etc/ssh/ssh_host_ed25519_key.pub
      '';
      serviceConfig = {
        Type = "oneshot";
        StandardOutput = "journal+console";
      };
    };

    environment.systemPackages = lib.optional (cfg.package != null) cfg.package;
  };
}
