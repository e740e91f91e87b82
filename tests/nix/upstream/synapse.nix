# services.matrix-synapse.
# nixpkgs 4aa6836a648ca76c68866decf0c8965e36ec2a3b, nixos/modules/services/matrix/synapse.nix
{
  lib,
  config,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  option = type: default: mkOption { inherit type default; };
  cfg = config.services.matrix-synapse;
  yaml = (pkgs.formats.yaml { }).type;

  listener = {
    port = option (types.nullOr types.port) null;
    bind_addresses = option (types.nullOr (types.listOf types.str)) [
      "::1"
      "127.0.0.1"
    ];
    path = option (types.nullOr types.path) null;
    type = option (types.enum [
      "http"
      "manhole"
      "metrics"
      "replication"
    ]) "http";
    tls = option (types.nullOr types.bool) true;
    x_forwarded = option types.bool false;
    resources = mkOption {
      type = types.listOf (
        types.submodule {
          options = {
            names = mkOption {
              type = types.listOf (
                types.enum [
                  "client"
                  "consent"
                  "federation"
                  "health"
                  "keys"
                  "media"
                  "metrics"
                  "openid"
                  "replication"
                  "static"
                ]
              );
            };
            compress = option types.bool false;
          };
        }
      );
    };
  };
in
{
  options.services.matrix-synapse = {
    enable = option types.bool false;
    package = option types.package pkgs.matrix-synapse;
    dataDir = option types.str "/var/lib/matrix-synapse";
    plugins = option (types.listOf types.package) [ ];
    extras = option (types.listOf (
      types.enum [
        "cache-memory"
        "jwt"
        "oidc"
        "postgres"
        "redis"
        "saml2"
        "sentry"
        "systemd"
        "url-preview"
      ]
    )) [ ];
    extraConfigFiles = option (types.listOf types.path) [ ];
    configureRedisLocally = option types.bool false;
    enableRegistrationScript = option types.bool true;
    serviceUnit = mkOption {
      type = types.str;
      readOnly = true;
      default = if cfg.workers == { } then "matrix-synapse.service" else "matrix-synapse.target";
    };
    workers = option (types.attrsOf (types.submodule { freeformType = types.attrsOf yaml; })) { };
    settings = mkOption {
      default = { };
      type = types.submodule {
        freeformType = types.attrsOf yaml;
        options = {
          server_name = option types.str config.networking.hostName;
          public_baseurl = option (types.nullOr types.str) null;
          listeners = option (types.listOf (types.submodule { options = listener; })) [ ];
          signing_key_path = option types.path "${cfg.dataDir}/homeserver.signing.key";
          media_store_path = option types.path "${cfg.dataDir}/media_store";
          max_upload_size = option types.str "50M";
          url_preview_enabled = option types.bool true;
          url_preview_ip_range_blacklist = option (types.listOf types.str) [
            "10.0.0.0/8"
            "100.64.0.0/10"
            "127.0.0.0/8"
            "169.254.0.0/16"
            "172.16.0.0/12"
            "192.0.0.0/24"
            "192.0.2.0/24"
            "192.168.0.0/16"
            "192.88.99.0/24"
            "198.18.0.0/15"
            "198.51.100.0/24"
            "2001:db8::/32"
            "203.0.113.0/24"
            "224.0.0.0/4"
            "::1/128"
            "fc00::/7"
            "fe80::/10"
            "fec0::/10"
            "ff00::/8"
          ];
          enable_registration = option types.bool false;
          enable_metrics = option types.bool false;
          report_stats = option types.bool false;
          dynamic_thumbnails = option types.bool false;
          presence.enabled = option types.bool true;
          turn_uris = option (types.listOf types.str) [ ];
          trusted_key_servers = option (types.listOf yaml) [ ];
          database = {
            name = option (types.enum [
              "sqlite3"
              "psycopg2"
            ]) "psycopg2";
            args = {
              database = option types.str "matrix-synapse";
              user = option (types.nullOr types.str) "matrix-synapse";
            };
          };
        };
      };
    };
  };

  config = lib.mkIf cfg.enable {
    users.users.matrix-synapse = {
      home = cfg.dataDir;
      createHome = true;
      group = "matrix-synapse";
      uid = config.ids.uids.matrix-synapse;
    };
    users.groups.matrix-synapse.gid = config.ids.gids.matrix-synapse;
    systemd.services = {
      matrix-synapse = {
        wantedBy = [ (if cfg.workers == { } then "multi-user.target" else "matrix-synapse.target") ];
        after = [
          "network-online.target"
          "postgresql.target"
        ];
        requires = [ "postgresql.target" ];
        # Makes a signing key where there is none.
        preStart = "synapse_homeserver --generate-keys";
        serviceConfig = {
          Type = "notify";
          User = "matrix-synapse";
          ExecStart = "synapse_homeserver";
          # As root: chown and chmod 0600 of the signing key.
          ExecStartPre = [ "+fix-permissions ${cfg.settings.signing_key_path}" ];
        };
      };
    }
    // lib.mapAttrs' (
      name: _:
      lib.nameValuePair "matrix-synapse-worker-${name}" {
        wantedBy = [ "matrix-synapse.target" ];
        after = [ "matrix-synapse.service" ];
        requires = [ "matrix-synapse.service" ];
        serviceConfig = {
          User = "matrix-synapse";
          ExecStart = "synapse_worker";
        };
      }
    ) cfg.workers;
    systemd.targets.matrix-synapse = lib.mkIf (cfg.workers != { }) {
      wantedBy = [ "multi-user.target" ];
    };
  };
}
