# Mastodon with PostgreSQL, Redis and nginx.
#
# What nixpkgs' module would do by itself and must not here:
# - `mastodon-init-dirs` makes every key whose file is missing: all are delivered, and
#   nothing starts without them.
# - `mastodon-init-db` seeds an empty database at the first boot: it is gated, so a
#   restore finds the database empty.
# - the virtual host is named for LOCAL_DOMAIN only: with a separate domain of the handles
#   the site's own virtual host is made here.
{
  lib,
  config,
  pkgs,
  ...
}:
let
  inherit (lib) mkDefault mkIf;
  fedi = import ../../modules/lib { inherit lib; };
  cfg = config.fedi.apps.mastodon;
  mastodon = config.services.mastodon;
  secret = config.fedi.contracts.secret.mastodon;
  rendered = config.fedi.contracts.render.mastodon;

  handleDomain = if cfg.handleDomain == null then cfg.domain else cfg.handleDomain;
  split = handleDomain != cfg.domain;
  bucket = cfg.media.store == "bucket";
  mail = cfg.smtp.host != null;
  publicHost = fedi.shared.publicHost cfg.media cfg.domain;

  sidekiq = map (name: "mastodon-sidekiq-${name}.service") (lib.attrNames mastodon.sidekiqProcesses);
  streaming = map (number: "mastodon-streaming-${toString number}.service") (
    lib.range 1 mastodon.streamingProcesses
  );

  # The environment that the site's own processes have, for Rails on the command line.
  rails = {
    environment = removeAttrs config.systemd.services.mastodon-web.environment [
      "PATH"
      "PORT"
      "SOCKET"
    ];
    path = [
      mastodon.package
      pkgs.coreutils
    ];
    serviceConfig = {
      Type = "oneshot";
      User = mastodon.user;
      Group = mastodon.group;
      WorkingDirectory = mastodon.package;
      EnvironmentFile = [ "/var/lib/mastodon/.secrets_env" ] ++ mastodon.extraEnvFiles;
    };
  };
in
{
  imports = [ ../../modules/core.nix ];

  options.fedi.apps.mastodon = import ./options.nix { inherit lib fedi; };

  config = mkIf cfg.enable {
    services.mastodon = {
      enable = true;
      localDomain = handleDomain;
      configureNginx = true;
      inherit (cfg)
        webProcesses
        webThreads
        sidekiqThreads
        streamingProcesses
        ;

      vapidPrivateKeyFile = rendered.vapid-private-key.path;
      vapidPublicKeyFile = rendered.vapid-public-key.path;
      secretKeyBaseFile = secret.secret-key-base.path;
      activeRecordEncryptionPrimaryKeyFile = secret.are-primary-key.path;
      activeRecordEncryptionDeterministicKeyFile = secret.are-deterministic-key.path;
      activeRecordEncryptionKeyDerivationSaltFile = secret.are-key-derivation-salt.path;

      smtp = {
        createLocally = false;
        fromAddress = fedi.shared.sender cfg.smtp cfg.domain;
      }
      // lib.optionalAttrs mail {
        inherit (cfg.smtp) host port;
        authenticate = cfg.smtp.user != null;
        user = mkIf (cfg.smtp.user != null) cfg.smtp.user;
        passwordFile = mkIf (cfg.smtp.user != null) secret.smtp-password.path;
      };

      mediaAutoRemove = {
        enable = mkDefault (cfg.media.remoteRetentionDays != 0);
        olderThanDays = mkIf (cfg.media.remoteRetentionDays != 0) (mkDefault cfg.media.remoteRetentionDays);
      };

      # World-readable: nothing secret here.
      extraConfig = {
        DEFAULT_LOCALE = cfg.locale;
        SINGLE_USER_MODE = lib.boolToString cfg.singleUser;
        LIMITED_FEDERATION_MODE = lib.boolToString cfg.limitedFederation;
        AUTHORIZED_FETCH = lib.boolToString cfg.authorizedFetch;
      }
      // lib.optionalAttrs split { WEB_DOMAIN = cfg.domain; }
      // (
        if !mail then
          { SMTP_DELIVERY_METHOD = "test"; }
        else
          {
            SMTP_TLS = lib.boolToString (cfg.smtp.security == "tls");
            SMTP_ENABLE_STARTTLS = if cfg.smtp.security == "starttls" then "always" else "never";
          }
      )
      // lib.optionalAttrs bucket {
        S3_ENABLED = "true";
        S3_BUCKET = cfg.media.bucket;
        S3_REGION = cfg.media.region;
        S3_ENDPOINT = cfg.media.endpoint;
        S3_HOSTNAME = fedi.shared.hostOf cfg.media.endpoint;
        S3_ALIAS_HOST = publicHost;
        # Garage has no access control lists. Empty means that none is sent, and that none is
        # changed when an account is suspended.
        S3_PERMISSION = "";
      }
      // fedi.shared.bucketEnvironment cfg.media;
      extraEnvFiles = lib.optional bucket rendered."s3.env".path;
    };

    services.nginx.virtualHosts = lib.mkMerge [
      (mkIf split {
        # Handles live here, the site does not.
        ${handleDomain}.locations = lib.mkForce {
          "/".return = "301 https://${cfg.domain}$request_uri";
          "^~ /.well-known/" = {
            return = "301 https://${cfg.domain}$request_uri";
            extraConfig = "add_header Access-Control-Allow-Origin *;";
          };
        };
        ${cfg.domain} = {
          enableACME = mkDefault true;
          forceSSL = mkDefault true;
          root = "${mastodon.package}/public/";
          locations = {
            "/".tryFiles = "$uri @proxy";
            "/system/".alias = "/var/lib/mastodon/public-system/";
            "@proxy" = {
              proxyPass =
                if mastodon.enableUnixSocket then
                  "http://unix:/run/mastodon-web/web.socket"
                else
                  "http://127.0.0.1:${toString mastodon.webPort}";
              proxyWebsockets = true;
            };
            "/api/v1/streaming" = {
              proxyPass = "http://mastodon-streaming";
              proxyWebsockets = true;
            };
          };
        };
      })
      (mkIf bucket { ${publicHost} = fedi.shared.mediaHost cfg.media.webEndpoint; })
    ];
    services.nginx.clientMaxBodySize = mkDefault "100m";

    systemd.services = {
      mastodon-init-dirs = {
        requires = [ "fedi-mastodon-secrets.service" ];
        after = [ "fedi-mastodon-secrets.service" ];
      };

      # Makes the first administrator; sets the password until somebody has logged in.
      # tootctl prints a password of its own, which must not reach the journal.
      fedi-mastodon-admin = rails // {
        description = "First administrator of Mastodon";
        requisite = [ "mastodon-web.service" ];
        after = [ "mastodon-web.service" ];
        script = ''
          known=$(rails runner 'puts Account.find_local(ENV.fetch("FEDI_LOGIN")) ? "yes" : "no"')
          if [ "$known" = no ]; then
            tootctl accounts create "$FEDI_LOGIN" --email "$FEDI_EMAIL" --confirmed --approve --role Owner > /dev/null
          fi
          rails runner '
            user = Account.find_local!(ENV.fetch("FEDI_LOGIN")).user
            if user.current_sign_in_at.nil?
              user.password = File.read(File.join(ENV.fetch("CREDENTIALS_DIRECTORY"), "password")).strip
              user.approved = true
              user.save!
            end
          '
        '';
        environment = rails.environment // {
          FEDI_LOGIN = cfg.admin.login;
          FEDI_EMAIL = fedi.shared.adminEmail config cfg.admin;
        };
        serviceConfig = rails.serviceConfig // {
          LoadCredential = "password:${secret.admin-password.path}";
        };
      };

      fedi-mastodon-feeds = rails // {
        description = "Build the home feeds of Mastodon again";
        requisite = [ "mastodon-web.service" ];
        script = "tootctl feeds build --all";
      };

      fedi-mastodon-drain = fedi.shared.drain {
        description = "Let Mastodon's queues run out";
        stop = lib.optional mastodon.mediaAutoRemove.enable "mastodon-media-auto-remove.timer";
        path = [
          config.services.redis.package
          pkgs.gawk
        ];
        busy = ''
          redis-cli -s ${config.services.redis.servers.mastodon.unixSocket} --raw smembers queues \
            | while read -r queue; do
                redis-cli -s ${config.services.redis.servers.mastodon.unixSocket} --raw llen "queue:$queue"
              done | awk '{ sum += $1 } END { print sum + 0 }'
        '';
      };

      fedi-mastodon-probe = {
        description = "Probe of Mastodon";
        path = [
          pkgs.curl
          pkgs.jq
        ];
        script = ''
          ask() {
            curl --fail --silent --show-error --max-time 20 --unix-socket /run/mastodon-web/web.socket \
              --header 'Host: ${cfg.domain}' --header 'X-Forwarded-Proto: https' "http://localhost$1"
          }
          ask /health
          ask /api/v2/instance | jq --exit-status '.domain == "${handleDomain}"'
        '';
        serviceConfig = {
          Type = "oneshot";
          User = mastodon.user;
        };
      };
    };

    fedi = {
      deployment.domains = [ cfg.domain ] ++ lib.optional split handleDomain;

      contracts = {
        web = {
          app = "mastodon";
          maintenanceHosts = [ cfg.domain ];
        };
        buckets = lib.optional bucket cfg.media.bucket;

        state.mastodon = {
          inherit (mastodon.package) version;
          # Rails migrates from here on; older ones still need OTP_SECRET.
          upgradesFrom = "4.4.0";
          units = [
            "mastodon.target"
            "mastodon-streaming.target"
            "mastodon-init-dirs.service"
            "mastodon-web.service"
          ]
          ++ lib.optional mastodon.automaticMigrations "mastodon-init-db.service"
          ++ sidekiq
          ++ streaming
          ++ lib.optionals mastodon.mediaAutoRemove.enable [
            "mastodon-media-auto-remove.service"
            "mastodon-media-auto-remove.timer"
          ];
          claims = {
            prefixes = [ "mastodon" ];
            users = [ mastodon.user ];
            helpers = [
              "fedi-mastodon-admin.service"
              "fedi-mastodon-feeds.service"
              "fedi-mastodon-probe.service"
            ];
          };

          items = {
            db.postgres = {
              database = mastodon.database.name;
              owner = mastodon.database.user;
              major = lib.toInt (lib.versions.major config.services.postgresql.package.version);
            };
            # Deliveries that wait, and the home feeds.
            queue.redis = {
              instance = "mastodon";
              holds = "mixed";
              queues = [
                "queue:"
                "retry"
                "schedule"
              ];
            };
            feeds.derived.rebuild = "fedi-mastodon-feeds.service";
          }
          // (
            if bucket then
              {
                media.bucket = {
                  inherit (cfg.media) bucket endpoint region;
                  accessKey = "s3-key-id";
                  secretKey = "s3-secret-key";
                  publicBase = "https://${publicHost}";
                  rebuildable = [ "cache/" ];
                  website = true;
                };
              }
            else
              {
                media.directory = {
                  path = "/var/lib/mastodon/public-system";
                  owner = mastodon.user;
                  inherit (mastodon) group;
                  # Other servers' media, fetched again when somebody looks at them.
                  exclude = [ "cache" ];
                };
              }
          );
          order = [
            "db"
            "queue"
            "media"
            "feeds"
          ];

          hooks = {
            drain = {
              unit = "fedi-mastodon-drain.service";
              timeout = "10m";
            };
            probe = {
              unit = "fedi-mastodon-probe.service";
              timeout = "2m";
            };
          };
          records = map (name: { inherit name; }) (
            [ cfg.domain ] ++ lib.optional split handleDomain ++ lib.optional bucket publicHost
          );
          endpoints = [
            {
              name = "site";
              url = "https://${cfg.domain}/health";
            }
            {
              name = "instance";
              url = "https://${cfg.domain}/api/v2/instance";
              json = "/domain";
              equals = handleDomain;
            }
            {
              name = "streaming";
              url = "https://${cfg.domain}/api/v1/streaming/health";
            }
            {
              name = "node information";
              url = "https://${cfg.domain}/.well-known/nodeinfo";
              json = "/links";
            }
          ];
          admin = {
            unit = "fedi-mastodon-admin.service";
            inherit (cfg.admin) login;
            password = "admin-password";
            url = "https://${cfg.domain}/auth/sign_in";
          };
        };

        gate.mastodon.starts = [
          "mastodon.target"
          "mastodon-streaming.target"
          "mastodon-web.service"
        ]
        ++ sidekiq
        ++ streaming
        ++ lib.optional mastodon.mediaAutoRemove.enable "mastodon-media-auto-remove.timer";

        secret.mastodon =
          let
            # mastodon-init-dirs reads them as the application's user.
            ours = {
              owner = mastodon.user;
              inherit (mastodon) group;
            };
            # Encrypted columns: without these nobody with a second factor can log in.
            encryption = ours // {
              class = "identity";
              generator.hex.bytes = 16;
              protects = [ "db" ];
            };
          in
          {
            are-primary-key = encryption;
            are-deterministic-key = encryption;
            are-key-derivation-salt = encryption;
            secret-key-base = ours // {
              class = "session";
              generator.hex.bytes = 64;
            };
            # Browsers' push subscriptions are bound to it.
            vapid = {
              class = "identity";
              generator = "vapid";
            };
            admin-password = {
              class = "session";
              generator.password.length = 20;
            };
          }
          // lib.mapAttrs (_: it: it // ours) (fedi.shared.smtpSecret cfg.smtp)
          // fedi.shared.bucketSecrets cfg.media;

        render.mastodon =
          let
            readable = {
              owner = mastodon.user;
              inherit (mastodon) group;
            };
          in
          {
            vapid-private-key = readable // {
              format = "raw";
              content = {
                secret = "vapid";
                part = 0;
              };
            };
            vapid-public-key = readable // {
              format = "raw";
              content = {
                secret = "vapid";
                part = 1;
              };
            };
          }
          // lib.optionalAttrs bucket {
            "s3.env" = {
              format = "env";
              content = {
                AWS_ACCESS_KEY_ID.secret = "s3-key-id";
                AWS_SECRET_ACCESS_KEY.secret = "s3-secret-key";
              };
            };
          };

        ignore."directory:/var/lib/mastodon" =
          "Only public-system below it is state, and an item of its own; the keys are delivered, .secrets_env is written at each start.";
      };
    };

    assertions = [
      {
        assertion = fedi.shared.adminEmail config cfg.admin != null;
        message = "Mastodon's first administrator needs a mail address: set fedi.apps.mastodon.admin.email or the deployment's `admin-email`.";
      }
      {
        assertion = mastodon.database.createLocally && mastodon.redis.createLocally;
        message = "fedi.apps.mastodon keeps its state on this guest: database.createLocally and redis.createLocally must stay true, or the state contract would be wrong.";
      }
    ]
    ++ fedi.shared.bucketAssertions "mastodon" cfg.media;
  };
}
