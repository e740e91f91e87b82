# services.nginx and security.acme.
# nixpkgs 4aa6836a648ca76c68866decf0c8965e36ec2a3b:
#   nixos/modules/services/web-servers/nginx/{default,vhost-options,location-options}.nix,
#   nixos/modules/security/acme/default.nix
{ lib, config, ... }:
let
  inherit (lib) mkOption types;
  option = type: default: mkOption { inherit type default; };
  cfg = config.services.nginx;
  acme = config.security.acme;

  location = {
    proxyPass = option (types.nullOr types.str) null;
    proxyWebsockets = option types.bool false;
    root = option (types.nullOr types.path) null;
    alias = option (types.nullOr types.path) null;
    return = option (types.nullOr (types.either types.str types.int)) null;
    tryFiles = option (types.nullOr types.str) null;
    extraConfig = option types.lines "";
    priority = option types.int 1000;
    recommendedProxySettings = option types.bool cfg.recommendedProxySettings;
  };

  virtualHost = {
    serverName = option (types.nullOr types.str) null;
    serverAliases = option (types.listOf types.str) [ ];
    enableACME = option types.bool false;
    useACMEHost = option (types.nullOr types.str) null;
    forceSSL = option types.bool false;
    default = option types.bool false;
    quic = option types.bool false;
    http3 = option types.bool true;
    root = option (types.nullOr types.path) null;
    extraConfig = option types.lines "";
    locations = option (types.attrsOf (types.submodule { options = location; })) { };
  };

  certificates = lib.attrNames acme.certs;
in
{
  options = {
    services.nginx = {
      enable = option types.bool false;
      user = option types.str "nginx";
      virtualHostOptions = mkOption {
        internal = true;
        type = types.raw;
        default = virtualHost;
      };
      virtualHosts = option (types.attrsOf (types.submodule { options = virtualHost; })) { };
      upstreams = option (types.attrsOf types.anything) { };
      recommendedProxySettings = option types.bool false;
      recommendedTlsSettings = option types.bool false;
      recommendedOptimisation = option types.bool false;
      recommendedGzipSettings = option types.bool false;
      clientMaxBodySize = option types.str "10m";
      commonHttpConfig = option types.lines "";
      appendHttpConfig = option types.lines "";
    };
    security.acme = {
      acceptTerms = option types.bool false;
      defaults = {
        email = option (types.nullOr types.str) null;
        server = option (types.nullOr types.str) "https://acme-v02.api.letsencrypt.org/directory";
        group = option types.str "acme";
      };
      certs = option (types.attrsOf (
        types.submodule (
          { name, ... }:
          {
            options = {
              domain = option types.str name;
              extraDomainNames = option (types.listOf types.str) [ ];
              group = option types.str acme.defaults.group;
              directory = option types.str "/var/lib/acme/${name}";
              reloadServices = option (types.listOf types.str) [ ];
              dnsProvider = option (types.nullOr types.str) null;
              environmentFile = option (types.nullOr types.path) null;
            };
          }
        )
      )) { };
    };
  };

  config = lib.mkIf cfg.enable {
    # A virtual host with enableACME asks for a certificate of its name.
    security.acme.certs = lib.mapAttrs' (
      name: host:
      lib.nameValuePair (if host.serverName == null then name else host.serverName) {
        extraDomainNames = host.serverAliases;
        group = lib.mkDefault "nginx";
      }
    ) (lib.filterAttrs (_: host: host.enableACME) cfg.virtualHosts);

    users.users.nginx.group = "nginx";
    users.users.acme = {
      home = "/var/lib/acme";
      group = "acme";
    };

    systemd.services = {
      nginx = {
        wantedBy = [ "multi-user.target" ];
        wants = map (name: "acme-${name}.service") certificates;
        after = map (name: "acme-${name}.service") certificates;
        before = map (name: "acme-order-renew-${name}.service") certificates;
        serviceConfig = {
          ExecStart = "nginx";
          User = "nginx";
        };
      };
    }
    // lib.optionalAttrs (certificates != [ ]) {
      nginx-config-reload = {
        wantedBy = [ "multi-user.target" ];
        serviceConfig.ExecStart = "reload";
      };
      acme-setup = {
        script = "minica CA, ownership of /var/lib/acme";
        serviceConfig = {
          Type = "oneshot";
          RemainAfterExit = true;
          StateDirectory = "acme";
        };
      };
    }
    // lib.concatMapAttrs (name: _: {
      # A self-signed certificate, until there is a real one.
      "acme-${name}" = {
        wantedBy = [ "multi-user.target" ];
        wants = [
          "acme-setup.service"
          "acme-order-renew-${name}.service"
        ];
        script = "minica";
        serviceConfig = {
          Type = "oneshot";
          RemainAfterExit = true;
          User = "acme";
          StateDirectory = "acme/${name}";
        };
      };
      "acme-order-renew-${name}" = {
        wants = [
          "network-online.target"
          "acme-setup.service"
          "acme-${name}.service"
        ];
        after = [ "acme-${name}.service" ];
        script = "lego";
        serviceConfig = {
          Type = "oneshot";
          User = "acme";
          StateDirectory = [
            "acme/${name}"
            "acme/.lego/${name}"
            "acme/.lego/accounts/0123456789abcdef"
          ];
        };
      };
    }) acme.certs;

    systemd.timers = lib.mapAttrs' (
      name: _:
      lib.nameValuePair "acme-renew-${name}" {
        wantedBy = [ "timers.target" ];
        timerConfig = {
          OnCalendar = "daily";
          Unit = "acme-order-renew-${name}.service";
        };
      }
    ) acme.certs;

    # The first certificate makes the account, the others wait for it.
    systemd.targets = lib.mkIf (lib.length certificates > 1) {
      "acme-account-0123456789abcdef" = {
        requires = [ "acme-order-renew-${lib.head certificates}.service" ];
        after = [ "acme-order-renew-${lib.head certificates}.service" ];
        requiredBy = map (name: "acme-order-renew-${name}.service") (lib.tail certificates);
        before = map (name: "acme-order-renew-${name}.service") (lib.tail certificates);
      };
    };
  };
}
