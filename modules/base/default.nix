# What every guest has, whatever runs on it. Opinions are `mkDefault`: a line in the
# deployment's `.nix` file wins.
{
  lib,
  config,
  pkgs,
  ...
}:
let
  inherit (lib) mkDefault mkOption types;
  cfg = config.fedi.base;
in
{
  imports = [ ./deployment.nix ];

  options.fedi.base = {
    enable = mkOption {
      type = types.bool;
      default = true;
      description = "Whether to set up SSH, firewall, time, logs, swap and store limits as fedi does.";
    };
    journalLimit = mkOption {
      type = types.str;
      default = "500M";
      description = "Most disk space that the journal takes.";
    };
    keepGenerationsDays = mkOption {
      type = types.ints.positive;
      default = 30;
      description = "Days after which old systems are collected.";
    };
  };

  config = lib.mkIf cfg.enable {
    services.openssh = {
      enable = mkDefault true;
      # One key type: fedi pins it at the first boot.
      hostKeys = mkDefault [
        {
          path = "/etc/ssh/ssh_host_ed25519_key";
          type = "ed25519";
        }
      ];
      settings = {
        PasswordAuthentication = mkDefault false;
        KbdInteractiveAuthentication = mkDefault false;
        PermitRootLogin = mkDefault "prohibit-password";
        X11Forwarding = mkDefault false;
        MaxAuthTries = mkDefault 3;
      };
      openFirewall = mkDefault true;
    };

    # Closed but for SSH and what the application declares.
    networking = {
      firewall = {
        enable = mkDefault true;
        allowPing = mkDefault true;
        logRefusedConnections = mkDefault false;
      };
      nftables.enable = mkDefault true;
      useNetworkd = mkDefault true;
      useDHCP = mkDefault false;
    };

    services.resolved.enable = mkDefault true;
    services.timesyncd.enable = mkDefault true;
    time.timeZone = mkDefault "UTC";

    services.journald.extraConfig = mkDefault ''
      SystemMaxUse=${cfg.journalLimit}
      MaxRetentionSec=1month
    '';

    zramSwap.enable = mkDefault true;

    nix = {
      settings = {
        auto-optimise-store = mkDefault true;
        # Collect on the fly rather than let a full store stop a deploy.
        min-free = mkDefault (1024 * 1024 * 1024);
        max-free = mkDefault (4 * 1024 * 1024 * 1024);
        experimental-features = mkDefault [
          "nix-command"
          "flakes"
        ];
      };
      gc = {
        automatic = mkDefault true;
        dates = mkDefault "weekly";
        options = mkDefault "--delete-older-than ${toString cfg.keepGenerationsDays}d";
      };
      channel.enable = mkDefault false;
    };

    boot.tmp.cleanOnBoot = mkDefault true;
    documentation.enable = mkDefault false;
    environment.systemPackages = [ pkgs.rsync ];
    system.stateVersion = mkDefault "26.05";
  };
}
