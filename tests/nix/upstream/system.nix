# What every NixOS system has, as far as fedi's modules set or read it.
# nixpkgs 4aa6836a648ca76c68866decf0c8965e36ec2a3b:
#   nixos/modules/misc/assertions.nix, nixos/modules/misc/ids.nix,
#   nixos/modules/system/etc/etc.nix, nixos/modules/config/system-path.nix,
#   nixos/modules/config/users-groups.nix, nixos/modules/config/zram.nix,
#   nixos/modules/tasks/filesystems.nix, nixos/modules/system/boot/*.nix,
#   nixos/modules/services/networking/{firewall,nftables,ssh/sshd}.nix,
#   nixos/modules/services/system/{cloud-init,nix-daemon}.nix,
#   nixos/modules/virtualisation/qemu-guest-agent.nix,
#   nixos/modules/system/activation/{switchable-system,pre-switch-check}.nix
{
  lib,
  pkgs,
  config,
  ...
}:
let
  inherit (lib) mkOption types;
  option = type: default: mkOption { inherit type default; };
  required = type: mkOption { inherit type; };
  yaml = (pkgs.formats.yaml { }).type;
  flags = types.coercedTo (types.listOf types.str) (list: lib.genAttrs list (_: true)) (
    types.attrsOf types.bool
  );
in
{
  options = {
    assertions = option (types.listOf types.unspecified) [ ];
    warnings = option (types.listOf types.str) [ ];
    ids = {
      uids = option (types.attrsOf types.int) { };
      gids = option (types.attrsOf types.int) { };
    };

    environment = {
      systemPackages = option (types.listOf types.package) [ ];
      etc = option (types.attrsOf (
        types.submodule {
          options = {
            text = option (types.nullOr types.lines) null;
            source = required types.path;
            mode = option types.str "symlink";
            user = option types.str "+0";
            group = option types.str "+0";
          };
        }
      )) { };
    };

    users = {
      users = option (types.attrsOf (
        types.submodule {
          options = {
            uid = option (types.nullOr types.int) null;
            group = option types.str "";
            extraGroups = option (types.listOf types.str) [ ];
            home = option types.path "/var/empty";
            createHome = option types.bool false;
            isSystemUser = option types.bool false;
            isNormalUser = option types.bool false;
            shell = option (types.nullOr (types.either types.package types.path)) null;
            packages = option (types.listOf types.package) [ ];
            openssh.authorizedKeys.keys = option (types.listOf types.singleLineStr) [ ];
          };
        }
      )) { };
      groups = option (types.attrsOf (
        types.submodule {
          options = {
            gid = option (types.nullOr types.int) null;
            members = option (types.listOf types.str) [ ];
          };
        }
      )) { };
    };

    networking = {
      hosts = option (types.attrsOf (types.listOf types.str)) { };
      hostName = option (types.strMatching "^$|^[[:alnum:]]([[:alnum:]_-]{0,61}[[:alnum:]])?$") "nixos";
      useDHCP = option types.bool true;
      useNetworkd = option types.bool false;
      nftables.enable = option types.bool false;
      firewall = {
        enable = option types.bool true;
        allowPing = option types.bool true;
        logRefusedConnections = option types.bool false;
        allowedTCPPorts = mkOption {
          type = types.listOf types.port;
          default = [ ];
          apply = ports: lib.sort lib.lessThan (lib.unique ports);
        };
        allowedUDPPorts = option (types.listOf types.port) [ ];
      };
    };

    services = {
      openssh = {
        enable = option types.bool false;
        openFirewall = option types.bool true;
        authorizedKeysInHomedir = option types.bool true;
        hostKeys = option (types.listOf types.attrs) [ ];
        settings = mkOption {
          default = { };
          type = types.submodule {
            freeformType = types.attrsOf types.anything;
            options = {
              PasswordAuthentication = option (types.nullOr types.bool) true;
              KbdInteractiveAuthentication = option (types.nullOr types.bool) true;
              PermitRootLogin = option (types.nullOr (
                types.enum [
                  "yes"
                  "without-password"
                  "prohibit-password"
                  "forced-commands-only"
                  "no"
                ]
              )) "prohibit-password";
              X11Forwarding = option (types.nullOr types.bool) false;
            };
          };
        };
      };
      resolved.enable = option types.bool false;
      timesyncd.enable = option types.bool true;
      journald.extraConfig = option types.lines "";
      qemuGuest.enable = option types.bool false;
      cloud-init = {
        enable = option types.bool false;
        network.enable = option types.bool false;
        settings = option (types.submodule { freeformType = types.attrsOf yaml; }) { };
      };
    };

    boot = {
      growPartition = option types.bool false;
      kernelParams = option (types.listOf (
        types.strMatching ''([^"[:space:]]|"[^"]*")+''
        // {
          description = "string, with spaces inside double quotes";
          descriptionClass = "noun";
        }
      )) [ ];
      initrd.availableKernelModules = option flags { };
      loader.grub.device = option types.str "";
      loader.timeout = option (types.nullOr types.int) 5;
      tmp.cleanOnBoot = option types.bool false;
      kernel.sysctl = option (types.attrsOf types.anything) { };
    };
    fileSystems = option (types.attrsOf (
      types.submodule {
        options = {
          device = option (types.nullOr types.nonEmptyStr) null;
          # No default since 26.05.
          fsType = required types.nonEmptyStr;
          options = option (types.nonEmptyListOf types.nonEmptyStr) [ "defaults" ];
          autoFormat = option types.bool false;
          autoResize = option types.bool false;
          neededForBoot = option types.bool false;
        };
      }
    )) { };
    zramSwap.enable = option types.bool false;
    time.timeZone = option (types.nullOr (
      types.strMatching "[^[:space:]]+"
      // {
        description = "string without spaces";
        descriptionClass = "noun";
      }
    )) null;
    documentation.enable = option types.bool true;

    nix = {
      settings = option (types.attrsOf types.anything) { };
      channel.enable = option types.bool true;
      gc = {
        automatic = option types.bool false;
        dates = option (types.either types.singleLineStr (types.listOf types.str)) [ "03:15" ];
        options = option types.singleLineStr "";
      };
    };

    system = {
      stateVersion = option types.str "26.05";
      preSwitchChecks = option (types.attrsOf types.str) { };
      build = option (types.submodule { freeformType = types.lazyAttrsOf types.unspecified; }) { };
    };
    security.sudo.enable = option types.bool true;
  };

  config = {
    ids.uids.matrix-synapse = 224;
    ids.gids.matrix-synapse = 224;
    users.users.root = { };
    networking.firewall.allowedTCPPorts = lib.mkIf (
      config.services.openssh.enable && config.services.openssh.openFirewall
    ) [ 22 ];
    # Defaults of its own, lists among them.
    services.cloud-init.settings = lib.mkIf config.services.cloud-init.enable (
      lib.mapAttrs (_: lib.mkDefault) {
        users = [ "root" ];
        disable_root = false;
        preserve_hostname = false;
        cloud_init_modules = [ "bootcmd" ];
        cloud_config_modules = [ "runcmd" ];
        cloud_final_modules = [ "scripts-user" ];
      }
    );
    systemd.services = {
      sshd = {
        wantedBy = [ "multi-user.target" ];
        serviceConfig.ExecStart = "sshd";
      };
      sshd-keygen = {
        wantedBy = [ "multi-user.target" ];
        serviceConfig.Type = "oneshot";
      };
      # Stands for all that is on a guest without being anybody's state.
      logrotate.serviceConfig.StateDirectory = "logrotate";
    };
  };
}
