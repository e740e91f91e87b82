# Matrix: Synapse with PostgreSQL and nginx.
#
# What nixpkgs' module would do by itself and must not here:
# - `--generate-keys` makes a signing key where there is none: a second identity. The key
#   is delivered, and the lease unit refuses to start anything without it.
# - the database has to have collation C; it is made so, empty, before the first start.
{
  lib,
  config,
  pkgs,
  ...
}:
let
  inherit (lib) mkDefault mkIf;
  fedi = import ../../modules/lib { inherit lib; };
  cfg = config.fedi.apps.matrix;
  synapse = config.services.matrix-synapse;
  secret = config.fedi.contracts.secret.matrix;
  rendered = config.fedi.contracts.render.matrix;

  serverName = if cfg.serverName == null then cfg.domain else cfg.serverName;
  delegated = serverName != cfg.domain;
  bucket = cfg.media.store == "bucket";
  mail = cfg.smtp.host != null;
  local = "http://127.0.0.1:8008";

  mediaStore = "${synapse.dataDir}/media_store";

  wellKnown =
    let
      answer = content: {
        return = "200 '${builtins.toJSON content}'";
        extraConfig = ''
          default_type application/json;
          add_header Access-Control-Allow-Origin *;
        '';
      };
    in
    {
      locations."= /.well-known/matrix/server" = answer { "m.server" = "${cfg.domain}:443"; };
      locations."= /.well-known/matrix/client" = answer {
        "m.homeserver".base_url = "https://${cfg.domain}";
      };
    };

  workers = lib.attrNames synapse.workers;

  # Whether it could neither pass for another server of the same name nor reach people: it
  # does not federate, answers nowhere that others look for the server name, and has
  # neither mail nor bridges. Only then may it get another one's state.
  fenced =
    !cfg.federation.enable
    && delegated
    && cfg.wellKnown == "elsewhere"
    && !mail
    && synapse.settings.app_service_config_files or [ ] == [ ];
in
{
  imports = [ ../../modules/core.nix ];

  options.fedi.apps.matrix = import ./options.nix { inherit lib fedi; };

  config = mkIf cfg.enable {
    services.matrix-synapse = {
      enable = true;
      plugins = lib.optional bucket synapse.package.plugins.matrix-synapse-s3-storage-provider;
      # Values that must not be in the world-readable store come last and win.
      extraConfigFiles = [ rendered."synapse.json".path ];
      enableRegistrationScript = mkDefault false;
      settings = {
        server_name = serverName;
        public_baseurl = "https://${cfg.domain}/";
        serve_server_wellknown = mkDefault false;
        signing_key_path = secret.signing-key.path;
        macaroon_secret_key_path = secret.macaroon-secret-key.path;
        form_secret_path = secret.form-secret.path;
        registration_shared_secret_path = secret.registration-shared-secret.path;
        media_store_path = mediaStore;
        max_upload_size = cfg.media.maxUploadSize;
        url_preview_enabled = cfg.urlPreviews;
        report_stats = mkDefault false;
        presence.enabled = cfg.presence;
        encryption_enabled_by_default_for_room_type = cfg.encryptByDefault;
        allow_guest_access = cfg.guests;
        allow_public_rooms_over_federation = cfg.federation.publicRooms;
        enable_registration = cfg.registration != "closed";
        registration_requires_token = cfg.registration == "token";
        turn_uris = cfg.turn.uris;
        trusted_key_servers = map (server_name: { inherit server_name; }) cfg.trustedKeyServers;
        suppress_key_server_warning = mkDefault true;
        # Deleted devices and old one-time keys do not come back after a restore.
        database = {
          name = "psycopg2";
          args = {
            database = "matrix-synapse";
            user = "matrix-synapse";
            cp_min = mkDefault 5;
            cp_max = mkDefault 10;
          };
        };
        listeners = [
          {
            port = 8008;
            bind_addresses = [ "127.0.0.1" ];
            tls = false;
            x_forwarded = true;
            resources = [
              {
                names = [ "client" ] ++ lib.optional cfg.federation.enable "federation";
                compress = false;
              }
            ];
          }
        ];
      }
      // lib.optionalAttrs (!cfg.federation.enable) { federation_domain_whitelist = [ ]; }
      // lib.optionalAttrs (cfg.federation.enable && cfg.federation.allow != null) {
        federation_domain_whitelist = cfg.federation.allow;
      }
      // lib.optionalAttrs (cfg.registration == "open") { registrations_require_3pid = [ "email" ]; }
      // lib.optionalAttrs (cfg.retentionDays != 0) {
        retention = {
          enabled = true;
          default_policy.max_lifetime = "${toString cfg.retentionDays}d";
        };
      }
      // lib.optionalAttrs (cfg.media.remoteRetentionDays != 0) {
        media_retention.remote_media_lifetime = "${toString cfg.media.remoteRetentionDays}d";
      }
      // lib.optionalAttrs mail {
        email = {
          smtp_host = cfg.smtp.host;
          smtp_port = cfg.smtp.port;
          force_tls = cfg.smtp.security == "tls";
          require_transport_security = cfg.smtp.security != "none";
          notif_from = "Matrix <${fedi.shared.sender cfg.smtp cfg.domain}>";
        }
        // lib.optionalAttrs (cfg.smtp.user != null) { smtp_user = cfg.smtp.user; };
      };
    };

    services.nginx.virtualHosts = lib.mkMerge [
      {
        ${cfg.domain} = {
          enableACME = mkDefault true;
          forceSSL = mkDefault true;
          locations."/".return = "404";
          locations."/_matrix" = {
            proxyPass = local;
            extraConfig = "client_max_body_size ${cfg.media.maxUploadSize};";
          };
          locations."/_synapse/client".proxyPass = local;
        };
      }
      (mkIf (!delegated) { ${cfg.domain} = wellKnown; })
      (mkIf (delegated && cfg.wellKnown == "guest") {
        ${serverName} = {
          enableACME = mkDefault true;
          forceSSL = mkDefault true;
          locations."/".return = mkDefault "302 https://${cfg.domain}";
        }
        // wellKnown;
      })
    ];

    systemd.services = lib.mkMerge [
      # Any worker may write to the bucket.
      (lib.genAttrs ([ "matrix-synapse" ] ++ map (name: "matrix-synapse-worker-${name}") workers) (_: {
        environment = fedi.shared.bucketEnvironment cfg.media;
      }))
      {
        matrix-synapse = {
          requires = [ "fedi-matrix-secrets.service" ];
          after = [ "fedi-matrix-secrets.service" ];
        };

        # Makes the first administrator; nothing when it is there.
        fedi-matrix-admin = {
          description = "First administrator of Matrix";
          requisite = [ "matrix-synapse.service" ];
          after = [ "matrix-synapse.service" ];
          script = ''
            exec ${synapse.package}/bin/register_new_matrix_user \
              --config ${
                pkgs.writeText "register.json" (
                  builtins.toJSON {
                    registration_shared_secret_path = secret.registration-shared-secret.path;
                  }
                )
              } \
              --user ${cfg.admin.login} \
              --password-file "$CREDENTIALS_DIRECTORY/password" \
              --admin --exists-ok ${local}
          '';
          serviceConfig = {
            Type = "oneshot";
            User = "matrix-synapse";
            Group = "matrix-synapse";
            LoadCredential = "password:${secret.admin-password.path}";
          };
        };

        # Answers for this server name, and signs with a key.
        fedi-matrix-probe = {
          description = "Probe of Matrix";
          path = [
            pkgs.curl
            pkgs.jq
          ];
          script = ''
            curl --fail --silent --show-error --max-time 10 ${local}/health
            curl --fail --silent --show-error --max-time 10 ${local}/_matrix/client/versions | jq --exit-status '.versions | length > 0'
          ''
          + lib.optionalString cfg.federation.enable ''
            curl --fail --silent --show-error --max-time 10 ${local}/_matrix/key/v2/server \
              | jq --exit-status '.server_name == "${serverName}" and (.verify_keys | length > 0)'
          '';
          serviceConfig = {
            Type = "oneshot";
            DynamicUser = true;
          };
        };
      }
      (mkIf fenced {
        # Before the first start of a copy: while the database runs and Synapse does not.
        fedi-matrix-rehome = {
          description = "Make the state of Matrix that of a copy";
          requires = [ "postgresql.target" ];
          after = [ "postgresql.target" ];
          path = [ config.services.postgresql.finalPackage ];
          script = ''
            if [ -e ${config.fedi.contracts.leaseMarkers}/matrix ]; then
              echo "Matrix is in use here: this would end everybody's session" >&2
              exit 1
            fi
            exec psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --set server_name=${lib.escapeShellArg serverName} \
              --dbname matrix-synapse --file ${./rehome.sql}
          '';
          serviceConfig = {
            Type = "oneshot";
            User = "matrix-synapse";
            Group = "matrix-synapse";
            # As root: certificates and the ACME account of the first. The copy orders its own.
            ExecStartPost = lib.optional (
              config.security.acme.certs != { }
            ) "+${pkgs.findutils}/bin/find /var/lib/acme -mindepth 1 -not -type d -delete";
          };
        };
      })
    ];

    fedi = {
      deployment.domains = [ cfg.domain ] ++ lib.optional delegated serverName;

      contracts = {
        web = {
          app = "matrix";
          maintenanceHosts = [ cfg.domain ];
        };

        database.matrix-synapse.locale = "C";
        buckets = lib.optional bucket cfg.media.bucket;

        state.matrix = {
          inherit (synapse.package) version;
          # Synapse migrates from any schema that it still knows; 1.0 was the first with this layout.
          upgradesFrom = "1.100.0";
          units = [
            "matrix-synapse.service"
          ]
          ++ lib.optional (workers != [ ]) "matrix-synapse.target"
          ++ map (name: "matrix-synapse-worker-${name}.service") workers;
          claims = {
            prefixes = [ "matrix-synapse" ];
            users = [ "matrix-synapse" ];
            helpers = [
              "fedi-matrix-admin.service"
            ]
            ++ lib.optional fenced "fedi-matrix-rehome.service";
          };

          items = {
            db.postgres = {
              database = "matrix-synapse";
              owner = "matrix-synapse";
              major = lib.toInt (lib.versions.major config.services.postgresql.package.version);
              locale = "C";
              # Handing out a one-time key twice breaks decryption; clients upload new ones.
              skipRows = [ "e2e_one_time_keys_json" ];
            };
            media.directory = {
              path = mediaStore;
              owner = "matrix-synapse";
              group = "matrix-synapse";
              # Other servers' media, fetched again when somebody looks at them.
              exclude = [
                "remote_content"
                "remote_thumbnail"
                "url_cache"
                "url_cache_thumbnails"
              ];
            };
          }
          // lib.optionalAttrs bucket {
            bucket.bucket = {
              inherit (cfg.media) bucket endpoint region;
              accessKey = "s3-key-id";
              secretKey = "s3-secret-key";
              rebuildable = [
                "remote_content/"
                "remote_thumbnail/"
              ];
            };
          };
          order = [
            "db"
            "media"
          ]
          ++ lib.optional bucket "bucket";

          hooks = {
            probe = {
              unit = "fedi-matrix-probe.service";
              timeout = "1m";
            };
          }
          // lib.optionalAttrs fenced { rehome.unit = "fedi-matrix-rehome.service"; };
          fence = {
            set = {
              inherit serverName;
              wellKnown = "elsewhere";
              "federation.enable" = false;
              registration = "closed";
            };
            unset = [
              "federation.allow"
              "smtp"
              "turn"
            ];
          };
          records = [
            { name = cfg.domain; }
          ]
          ++ lib.optional (delegated && cfg.wellKnown == "guest") { name = serverName; };
          endpoints = [
            {
              name = "client API";
              url = "https://${cfg.domain}/_matrix/client/versions";
              json = "/versions";
            }
          ]
          ++ lib.optionals cfg.federation.enable [
            {
              name = "federation";
              url = "https://${cfg.domain}/_matrix/federation/v1/version";
              json = "/server/name";
              equals = "Synapse";
            }
            {
              name = "signing key";
              url = "https://${cfg.domain}/_matrix/key/v2/server";
              json = "/server_name";
              equals = serverName;
            }
            {
              name = "delegation";
              url = "https://${serverName}/.well-known/matrix/server";
              json = "/m.server";
              equals = "${cfg.domain}:443";
            }
          ];
          admin = {
            unit = "fedi-matrix-admin.service";
            inherit (cfg.admin) login;
            password = "admin-password";
            url = "https://${cfg.domain}";
          };
        };

        gate.matrix.starts = [
          synapse.serviceUnit
        ]
        ++ map (name: "matrix-synapse-worker-${name}.service") workers;

        secret.matrix =
          let
            ours = {
              owner = "matrix-synapse";
              group = "matrix-synapse";
              restartUnits = [ "matrix-synapse.service" ];
            };
          in
          {
            signing-key = ours // {
              # nixpkgs' module sets this mode at every start.
              mode = "0600";
              class = "identity";
              generator = "synapseSigningKey";
            };
            # Hashed into every password: with another pepper nobody can log in.
            password-pepper = {
              class = "identity";
              generator.hex.bytes = 32;
              protects = [ "db" ];
            };
            macaroon-secret-key = ours // {
              class = "session";
              generator.hex.bytes = 32;
            };
            form-secret = ours // {
              class = "session";
              generator.hex.bytes = 32;
            };
            registration-shared-secret = ours // {
              class = "rotatable";
              generator.hex.bytes = 32;
            };
            admin-password = {
              class = "session";
              generator.password.length = 20;
            };
          }
          // fedi.shared.smtpSecret cfg.smtp
          // fedi.shared.bucketSecrets cfg.media
          // lib.optionalAttrs (cfg.turn.uris != [ ]) {
            turn-secret = fedi.shared.operatorSecret "Shared secret of the TURN server";
          };

        # JSON is YAML; Synapse merges it over its configuration.
        render.matrix."synapse.json" = {
          format = "json";
          owner = "matrix-synapse";
          group = "matrix-synapse";
          content = {
            password_config.pepper.secret = "password-pepper";
          }
          // lib.optionalAttrs (mail && cfg.smtp.user != null) {
            # Synapse merges top-level keys only: the whole section stands here again.
            email = synapse.settings.email // {
              smtp_pass.secret = "smtp-password";
            };
          }
          // lib.optionalAttrs (cfg.turn.uris != [ ]) { turn_shared_secret.secret = "turn-secret"; }
          // lib.optionalAttrs bucket {
            media_storage_providers = [
              {
                module = "s3_storage_provider.S3StorageProviderBackend";
                store_local = true;
                store_remote = true;
                store_synchronous = true;
                config = {
                  inherit (cfg.media) bucket;
                  region_name = cfg.media.region;
                  endpoint_url = cfg.media.endpoint;
                  access_key_id.secret = "s3-key-id";
                  secret_access_key.secret = "s3-secret-key";
                };
              }
            ];
          };
        };

        ignore."directory:/var/lib/matrix-synapse" =
          "Only media_store below it is state, and an item of its own; the signing key is delivered.";
      };
    };

    assertions = [
      {
        assertion = cfg.registration == "open" -> mail;
        message = "fedi.apps.matrix.registration is `open`: that needs a mail relay (fedi.apps.matrix.smtp.host) to confirm addresses with.";
      }
      {
        assertion = synapse.settings.database.name == "psycopg2";
        message = "fedi.apps.matrix keeps its state in PostgreSQL; services.matrix-synapse.settings.database.name must stay `psycopg2`.";
      }
    ]
    ++ fedi.shared.bucketAssertions "matrix" cfg.media;
  };
}
