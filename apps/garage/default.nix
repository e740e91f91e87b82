# Garage on one node, with nginx in front of its S3 API and of published buckets.
#
# What nixpkgs' module or Garage does by itself and must not here, or does not do:
# - a dynamic user cannot read secret files, and its folder is a link: a fixed user;
# - layout, keys and buckets are made by hand: a oneshot makes them, and can run again;
# - Garage makes a node key; with `carry = "directories"` it is state like the rest;
# - buckets can be read and written through Garage only: while it is dormant or stopped,
#   fedi starts one that nobody else reaches (`fedi-garage-serve`).
{
  lib,
  config,
  pkgs,
  ...
}:
let
  inherit (lib) mkDefault mkIf;
  fedi = import ../../modules/lib { inherit lib; };
  cfg = config.fedi.apps.garage;
  garage = config.services.garage;
  secret = config.fedi.contracts.secret.garage;
  rendered = config.fedi.contracts.render.garage;

  api = "s3.${cfg.domain}";
  web = name: "${name}.web.${cfg.domain}";
  published = lib.attrNames (lib.filterAttrs (_: it: it.website) cfg.buckets);
  keys = lib.unique (lib.concatMap (it: it.keys) (lib.attrValues cfg.buckets));
  aliases = lib.concatMap (it: it.aliases) (lib.attrValues cfg.buckets);

  plan = pkgs.writeText "garage-plan.json" (
    builtins.toJSON {
      inherit (cfg) zone;
      capacity = cfg.capacityGib * 1024 * 1024 * 1024;
      keys = lib.genAttrs keys (name: {
        id = secret."key-${name}-id".path;
        secret = secret."key-${name}-secret".path;
      });
      buckets = lib.mapAttrs (_: it: {
        inherit (it) keys website aliases;
        quota = if it.quotaGib == null then null else it.quotaGib * 1024 * 1024 * 1024;
      }) cfg.buckets;
    }
  );

  provision = ''
    umask 077
    export HEADER="$RUNTIME_DIRECTORY/header"
    printf 'Authorization: Bearer %s\n' "$(cat ${secret.admin-token.path})" > "$HEADER"
    ${pkgs.bash}/bin/bash ${./provision.sh} ${plan}
  '';

  # What makes them, once `server` runs.
  provisioning = unit: server: {
    requires = [ server ];
    after = [ server ];
    path = [
      pkgs.coreutils
      pkgs.curl
      pkgs.jq
    ];
    environment.ADMIN = "http://127.0.0.1:3903";
    script = provision;
    serviceConfig = {
      Type = "oneshot";
      RemainAfterExit = true;
      RuntimeDirectory = unit;
    };
  };

  proxy = port: extra: {
    proxyPass = "http://127.0.0.1:${toString port}";
    extraConfig = ''
      proxy_buffering off;
      proxy_request_buffering off;
      client_max_body_size ${cfg.maxUploadSize};
      ${extra}
    '';
  };
in
{
  imports = [ ../../modules/core.nix ];

  options.fedi.apps.garage = import ./options.nix { inherit lib fedi; };

  config = mkIf cfg.enable {
    services.garage = {
      enable = true;
      package = mkDefault pkgs.garage_2;
      inherit (cfg) logLevel;
      environmentFile = rendered.environment.path;
      settings = {
        metadata_dir = "/var/lib/garage/meta";
        data_dir = "/var/lib/garage/data";
        db_engine = cfg.databaseEngine;
        replication_factor = 1;
        metadata_auto_snapshot_interval = cfg.snapshotInterval;
        compression_level = cfg.compression;
        block_size = cfg.blockSize;
        rpc_bind_addr = mkDefault "127.0.0.1:3901";
        rpc_public_addr = mkDefault "127.0.0.1:3901";
        s3_api = {
          s3_region = cfg.region;
          api_bind_addr = "127.0.0.1:3900";
          # Buckets by host name, for clients that know no other way.
          root_domain = ".${api}";
        };
        s3_web = {
          bind_addr = "127.0.0.1:3902";
          root_domain = ".web.${cfg.domain}";
        };
        admin.api_bind_addr = "127.0.0.1:3903";
      };
    };

    users.users.garage = {
      isSystemUser = true;
      group = "garage";
    };
    users.groups.garage = { };

    systemd.services = {
      garage = {
        requires = [ "fedi-garage-secrets.service" ];
        after = [ "fedi-garage-secrets.service" ];
        serviceConfig = {
          DynamicUser = false;
          User = "garage";
          Group = "garage";
          StateDirectoryMode = "0700";
          UMask = "0077";
        };
      };

      fedi-garage-provision = provisioning "fedi-garage-provision" "garage.service" // {
        description = "Layout, keys and buckets of Garage";
      };

      # What `fedi-garage-serve` stands on. The rendered environment is for the gate's units.
      fedi-garage-store = mkIf (cfg.carry == "buckets") {
        description = "Garage for fedi alone";
        conflicts = [ "garage.service" ];
        before = [ "garage.service" ];
        partOf = [ "fedi-garage-serve.service" ];
        unitConfig.StopWhenUnneeded = true;
        environment.RUST_LOG = "garage=${cfg.logLevel}";
        script = ''
          GARAGE_RPC_SECRET=$(cat "$CREDENTIALS_DIRECTORY/rpc-secret")
          GARAGE_ADMIN_TOKEN=$(cat "$CREDENTIALS_DIRECTORY/admin-token")
          export GARAGE_RPC_SECRET GARAGE_ADMIN_TOKEN
          exec ${garage.package}/bin/garage server
        '';
        serviceConfig = {
          User = "garage";
          Group = "garage";
          UMask = "0077";
          StateDirectory = "garage";
          StateDirectoryMode = "0700";
          LoadCredential = [
            "rpc-secret:${secret.rpc-secret.path}"
            "admin-token:${secret.admin-token.path}"
          ];
        };
      };
      fedi-garage-serve = mkIf (cfg.carry == "buckets") (
        provisioning "fedi-garage-serve" "fedi-garage-store.service"
        // {
          description = "Buckets of Garage, for fedi alone";
        }
      );

      fedi-garage-probe = {
        description = "Probe of Garage";
        path = [ pkgs.curl ];
        script = ''
          curl --fail --silent --show-error --max-time 20 http://127.0.0.1:3903/health
        '';
        serviceConfig = {
          Type = "oneshot";
          DynamicUser = true;
        };
      };
    };

    services.nginx.virtualHosts = {
      ${api} = {
        enableACME = mkDefault true;
        forceSSL = mkDefault true;
        # A name for each bucket: a wildcard certificate would need the DNS provider's key here.
        serverAliases = map (name: "${name}.${api}") (lib.attrNames cfg.buckets);
        locations."/" = proxy 3900 "";
      };
    }
    // lib.genAttrs (map web published ++ aliases) (_: {
      enableACME = mkDefault true;
      forceSSL = mkDefault true;
      locations."/" = proxy 3902 ''
        limit_except GET { deny all; }
        add_header Access-Control-Allow-Origin *;
      '';
    });

    fedi = {
      deployment.domains = [ cfg.domain ];

      contracts = {
        web = {
          app = "garage";
          maintenanceHosts = [ api ];
        };
        buckets = lib.optionals (cfg.carry == "buckets") (lib.attrNames cfg.buckets);

        state.garage = {
          inherit (garage.package) version;
          upgradesFrom =
            if cfg.carry == "buckets" then "1.0.0" else "${lib.versions.major garage.package.version}.0.0";
          units = [
            "garage.service"
            "fedi-garage-provision.service"
          ];
          claims = {
            prefixes = [ "garage" ];
            users = [ "garage" ];
            helpers = lib.optional (cfg.carry == "buckets") "fedi-garage-store.service";
          };

          items =
            if cfg.carry == "buckets" then
              lib.mapAttrs (name: it: {
                bucket = {
                  bucket = name;
                  # fedi's agent on this guest asks; it works without a name, too.
                  endpoint = "http://127.0.0.1:3900";
                  inherit (cfg) region;
                  accessKey = "key-${lib.head it.keys}-id";
                  secretKey = "key-${lib.head it.keys}-secret";
                  inherit (it) website;
                  publicBase = if it.website then "https://${web name}" else null;
                };
              }) cfg.buckets
            else
              {
                # Node key, layout, keys, buckets and flags; with the blocks they make a whole.
                meta.directory = {
                  path = "/var/lib/garage/meta";
                  owner = "garage";
                  group = "garage";
                  exclude = [ "snapshots" ];
                  atLeastFiles = 3;
                };
                data.directory = {
                  path = "/var/lib/garage/data";
                  owner = "garage";
                  group = "garage";
                };
              };
          order =
            if cfg.carry == "buckets" then
              lib.attrNames cfg.buckets
            else
              [
                "meta"
                "data"
              ];

          hooks = {
            probe = {
              unit = "fedi-garage-probe.service";
              timeout = "1m";
            };
          }
          // lib.optionalAttrs (cfg.carry == "buckets") {
            serve = {
              unit = "fedi-garage-serve.service";
              timeout = "2m";
            };
          };
          records = map (name: { inherit name; }) (
            [
              cfg.domain
              api
            ]
            ++ map (name: "${name}.${api}") (lib.attrNames cfg.buckets)
            ++ map web published
            ++ aliases
          );
          endpoints = [
            {
              # Without a signature the S3 API says no, in its own words.
              name = "S3 API";
              url = "https://${api}/";
              status = 403;
            }
          ];
        };

        gate.garage.starts = [
          "garage.service"
          "fedi-garage-provision.service"
        ];

        secret.garage = {
          rpc-secret = {
            class = "rotatable";
            generator.hex.bytes = 32;
          };
          admin-token = {
            class = "rotatable";
            generator.hex.bytes = 32;
          };
          metrics-token = {
            class = "rotatable";
            generator.hex.bytes = 32;
          };
        }
        # Whoever uses a bucket has these in its own configuration: they come along.
        // lib.concatMapAttrs (name: _: {
          "key-${name}-id" = {
            class = "identity";
            generator = "garageKeyId";
          };
          "key-${name}-secret" = {
            class = "identity";
            generator.hex.bytes = 32;
          };
        }) (lib.genAttrs keys (_: null));

        render.garage.environment = {
          format = "env";
          content = {
            GARAGE_RPC_SECRET.secret = "rpc-secret";
            GARAGE_ADMIN_TOKEN.secret = "admin-token";
          }
          // lib.optionalAttrs (!cfg.anonymousMetrics) {
            GARAGE_METRICS_TOKEN.secret = "metrics-token";
          };
        };

        ignore =
          lib.optionalAttrs (cfg.carry == "buckets") {
            "directory:/var/lib/garage" =
              "Carried bucket by bucket through the S3 API, with the keys imported: the files themselves move to the same version only.";
          }
          // lib.optionalAttrs (cfg.carry == "directories") {
            "directory:/var/lib/garage" =
              "Its two folders meta and data are items of their own; nothing else lies in it.";
          };
      };
    };

    assertions = [
      {
        assertion = lib.versionAtLeast garage.package.version "2";
        message = "fedi.apps.garage needs Garage 2 or newer (its admin API); services.garage.package is ${garage.package.version}.";
      }
      {
        assertion = lib.all config.fedi.deployment.owns aliases;
        message = "fedi.apps.garage.buckets.*.aliases must be names that the deployment owns (${lib.concatStringsSep ", " config.fedi.deployment.domains}); add a domain to fedi.deployment.domains to own it.";
      }
    ];
  };
}
