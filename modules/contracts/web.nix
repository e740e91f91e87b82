# The web side that the applications share: nginx, certificates, and what both mean for
# gate and state.
#
# - Certificates and the ACME account are state: a moved application keeps its account
#   key and does not run into rate limits.
# - The ACME units are gated. A dormant guest has no DNS record yet, and an account key
#   made there would be a second one.
# - nginx is dark on a fresh guest. Once there are certificates it stays up while the
#   application is stopped, and answers 503 with Retry-After: other servers try again.
{ lib, config, ... }:
let
  inherit (lib) mkOption types;
  fedi = import ../lib { inherit lib; };
  cfg = config.fedi.contracts.web;
  certificates = lib.attrNames config.security.acme.certs;
  # nixpkgs lets one certificate make the account and the others wait for it, through a
  # target (`acme-account-<hash>`). Such targets start nothing that is not gated.
  accountTargets = map (name: "${name}.target") (
    lib.filter (lib.hasPrefix "acme-") (lib.attrNames config.systemd.targets)
  );
  marker = "${config.fedi.contracts.leaseMarkers}/${cfg.app}";
in
{
  options.fedi.contracts.web = {
    app = mkOption {
      type = types.nullOr types.str;
      default = null;
      description = "The application that nginx on this guest serves.";
    };
    maintenanceHosts = mkOption {
      type = types.listOf fedi.types.domain;
      default = [ ];
      description = "Virtual hosts that answer 503 while the application is stopped.";
    };
    acmeServer = mkOption {
      type = types.nullOr fedi.types.httpUrl;
      default = null;
      description = "ACME directory URL; without it Let's Encrypt.";
    };
  };

  config = lib.mkIf (cfg.app != null) {
    services.nginx = {
      enable = true;
      recommendedProxySettings = lib.mkDefault true;
      recommendedTlsSettings = lib.mkDefault true;
      recommendedOptimisation = lib.mkDefault true;
      recommendedGzipSettings = lib.mkDefault true;
      virtualHosts = lib.genAttrs cfg.maintenanceHosts (_: {
        extraConfig = ''
          error_page 502 503 504 = @fedi_maintenance;
          # Set while queued work runs out, before anything is stopped.
          if (-e /run/fedi/maintenance) {
            return 503;
          }
        '';
        locations."@fedi_maintenance" = {
          return = "503";
          extraConfig = ''
            add_header Retry-After 120 always;
          '';
        };
      });
    };

    security.acme = {
      acceptTerms = lib.mkDefault true;
      defaults = {
        email = lib.mkDefault config.fedi.deployment.adminEmail;
        server = lib.mkIf (cfg.acmeServer != null) cfg.acmeServer;
      };
    };

    networking.firewall.allowedTCPPorts = [
      80
      443
    ];

    fedi.contracts = {
      state.${cfg.app} = {
        items = lib.mkIf (certificates != [ ]) {
          tls.directory = {
            path = "/var/lib/acme";
            owner = "acme";
            group = "acme";
          };
        };
        order = lib.mkIf (certificates != [ ]) (lib.mkBefore [ "tls" ]);
        units =
          lib.optional (certificates != [ ]) "acme-setup.service"
          ++ lib.concatMap (name: [
            "acme-${name}.service"
            "acme-order-renew-${name}.service"
            "acme-renew-${name}.timer"
          ]) certificates;
        claims.prefixes = [ "acme-" ];
        claims.helpers = accountTargets;
      };
      gate.${cfg.app} = {
        wants = [ "nginx.service" ];
        pullers = [
          "nginx.service"
          "nginx-config-reload.service"
        ]
        ++ accountTargets;
        starts = lib.concatMap (name: [
          "acme-${name}.service"
          "acme-renew-${name}.timer"
        ]) certificates;
      };
    };

    # `|`: one of them is enough.
    systemd.services.nginx = {
      after = [ "fedi-${cfg.app}-lease.service" ];
      unitConfig.ConditionPathExists = [
        "|${marker}"
      ]
      ++ map (name: "|${config.security.acme.certs.${name}.directory}/fullchain.pem") certificates;
    };

    assertions = [
      {
        assertion = config.security.acme.certs != { } -> config.security.acme.defaults.email != null;
        message = "A certificate authority wants a mail address: set `operator.email` in fedi.toml or `admin-email` in the deployment's file (fedi.deployment.adminEmail).";
      }
    ];
  };
}
