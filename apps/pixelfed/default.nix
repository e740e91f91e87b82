# Pixelfed with MariaDB (or PostgreSQL), Redis, PHP-FPM and nginx.
#
# What nixpkgs' module would do by itself and must not here, or does not do:
# - OAuth keys are generated when a marker file is missing: they are delivered, and the
#   marker is set;
# - `schedulerInterval` is a day, Laravel's scheduler needs a minute;
# - on PostgreSQL the user does not own its database, and cannot make a table in it;
# - files that PHP writes are not readable for nginx under the default umask;
# - MariaDB's newer default collation is not the one that the schema expects;
# - the site requires the queue's worker, and goes down with it;
# - `.env` is written without quotes, so that a name of two words would break it;
# - `cache:clear` empties all of Redis, work that waits and sessions included.
{
  lib,
  config,
  options,
  pkgs,
  ...
}:
let
  inherit (lib) mkDefault mkIf;
  fedi = import ../../modules/lib { inherit lib; };
  cfg = config.fedi.apps.pixelfed;
  pixelfed = config.services.pixelfed;
  secret = config.fedi.contracts.secret.pixelfed;
  rendered = config.fedi.contracts.render.pixelfed;

  bucket = cfg.media.store == "bucket";
  mail = cfg.smtp.host != null;
  mysql = cfg.database == "mysql";
  publicHost = fedi.shared.publicHost cfg.media cfg.domain;
  publicBase = "https://${publicHost}";
  inherit (pixelfed) dataDir;

  # nixpkgs writes settings into `.env` as they are.
  quoted = text: "\"${lib.escape [ "\\" "\"" "$" ] text}\"";
  name = quoted (if cfg.name == null then cfg.domain else cfg.name);

  # Where Laravel keeps its cache in Redis. The colon is written by older versions only.
  cachePrefix = "pixelfed_cache:";

  # `50M` -> 51200, as Pixelfed wants its limits.
  kibibytes =
    size:
    let
      number = lib.toInt (lib.substring 0 (lib.stringLength size - 1) size);
      unit = lib.substring (lib.stringLength size - 1) 1 size;
    in
    number
    * {
      K = 1;
      M = 1024;
      G = 1024 * 1024;
    }
    .${unit};

  # Group-readable, so that nginx (in the group) can serve what PHP writes.
  readable.serviceConfig.UMask = "0027";
in
{
  imports = [ ../../modules/core.nix ];

  options.fedi.apps.pixelfed = import ./options.nix { inherit lib fedi; };

  config = mkIf cfg.enable {
    services.pixelfed = {
      enable = true;
      inherit (cfg) domain maxUploadSize;
      secretFile = rendered.environment.path;
      # Laravel decides itself what is due; it has to be asked each minute.
      schedulerInterval = "1min";
      database = {
        createLocally = true;
        type = cfg.database;
      };
      # The package is built with it, and nixpkgs' PHP pool has it not.
      phpPackage = mkDefault (
        options.services.pixelfed.phpPackage.default.withExtensions (
          { enabled, all }: enabled ++ [ all.ffi ]
        )
      );
      redis.createLocally = true;
      nginx = {
        enableACME = true;
        forceSSL = true;
      };
      poolConfig."pm.max_children" = cfg.workers;
      settings = {
        APP_NAME = name;
        INSTANCE_DESCRIPTION = quoted cfg.description;
        APP_LOCALE = cfg.locale;
        OPEN_REGISTRATION = cfg.registration;
        ENFORCE_EMAIL_VERIFICATION = cfg.confirmEmail && mail;
        ACTIVITY_PUB = cfg.federation;
        # nginx speaks FastCGI: nobody in front may say who the client is. Upstream trusts all.
        # Addresses and networks with commas between them; no space, which `.env` does not take
        # (config/trustedproxy.php, and Laravel's TrustProxies.php).
        TRUST_PROXIES = mkDefault "127.0.0.1";
        CACHE_PREFIX = cachePrefix;
        OAUTH_ENABLED = true;
        STORIES_ENABLED = cfg.stories;
        INSTANCE_CONTACT_EMAIL = toString (fedi.shared.adminEmail config cfg.admin);
        MAX_PHOTO_SIZE = kibibytes cfg.maxUploadSize;
        MAX_ALBUM_LENGTH = cfg.maxAlbumLength;
        IMAGE_QUALITY = cfg.imageQuality;
        LIMIT_ACCOUNT_SIZE = cfg.accountQuota != 0;
      }
      // lib.optionalAttrs (cfg.accountQuota != 0) { MAX_ACCOUNT_SIZE = cfg.accountQuota * 1024; }
      // lib.optionalAttrs mail {
        MAIL_DRIVER = "smtp";
        MAIL_MAILER = "smtp";
        MAIL_HOST = cfg.smtp.host;
        MAIL_PORT = cfg.smtp.port;
        MAIL_ENCRYPTION =
          if cfg.smtp.security == "none" then
            "null"
          else if cfg.smtp.security == "tls" then
            "ssl"
          else
            "tls";
        MAIL_FROM_ADDRESS = fedi.shared.sender cfg.smtp cfg.domain;
        MAIL_FROM_NAME = name;
      }
      // lib.optionalAttrs (mail && cfg.smtp.user != null) { MAIL_USERNAME = cfg.smtp.user; }
      // lib.optionalAttrs bucket {
        PF_ENABLE_CLOUD = true;
        FILESYSTEM_CLOUD = "s3";
        PF_LOCAL_AVATAR_TO_CLOUD = true;
        AWS_DEFAULT_REGION = cfg.media.region;
        AWS_BUCKET = cfg.media.bucket;
        AWS_ENDPOINT = cfg.media.endpoint;
        # The database keeps whole addresses: this one never changes.
        AWS_URL = publicBase;
        AWS_USE_PATH_STYLE_ENDPOINT = true;
        # Sent as an access list with every upload, and there is no way not to. Garage does not
        # look at it; elsewhere nginx has to be able to read what is published.
        AWS_VISIBILITY = mkDefault "public";
      };
    };

    services.mysql.settings.mysqld = mkIf mysql {
      character-set-server = mkDefault "utf8mb4";
      collation-server = mkDefault "utf8mb4_unicode_ci";
    };
    services.postgresql.ensureUsers = mkIf (!mysql) [
      {
        name = pixelfed.user;
        ensureDBOwnership = true;
      }
    ];

    services.nginx.virtualHosts = mkIf bucket {
      ${publicHost} = fedi.shared.mediaHost cfg.media.webEndpoint;
    };

    # The configuration is cached, so `.env` is not read any more: for the AWS library these
    # have to be in the environment.
    services.phpfpm.pools.pixelfed.phpEnv = fedi.shared.bucketEnvironment cfg.media;

    systemd.timers.pixelfed-cron.timerConfig.AccuracySec = "1s";

    systemd.services = {
      phpfpm-pixelfed = readable // {
        # nixpkgs' list, without Horizon: a worker that fails and starts again would restart
        # the site each time, and one that stays down would keep it down.
        requires = lib.mkForce [
          "fedi-pixelfed-lease.service"
          "pixelfed-data-setup.service"
          (if mysql then "mysql.service" else "postgresql.target")
          "redis-pixelfed.service"
        ];
        wants = [ "pixelfed-horizon.service" ];
      };
      pixelfed-horizon = {
        serviceConfig = readable.serviceConfig // {
          # Five tries in ten seconds would be the end of it.
          RestartSec = mkDefault "5s";
        };
        environment = fedi.shared.bucketEnvironment cfg.media;
      };
      pixelfed-cron = readable // {
        environment = fedi.shared.bucketEnvironment cfg.media;
      };

      # Laravel Passport reads its keys from the storage folder only.
      fedi-pixelfed-keys = {
        description = "OAuth keys of Pixelfed";
        path = [ pkgs.coreutils ];
        script = ''
          install -d -m 0750 ${dataDir}/storage
          install -m 0600 "$CREDENTIALS_DIRECTORY/private" ${dataDir}/storage/oauth-private.key
          install -m 0600 "$CREDENTIALS_DIRECTORY/public" ${dataDir}/storage/oauth-public.key
          touch ${dataDir}/.passport-keys-generated
        '';
        serviceConfig = {
          Type = "oneshot";
          RemainAfterExit = true;
          User = pixelfed.user;
          Group = pixelfed.group;
          StateDirectory = mkIf (dataDir == "/var/lib/pixelfed") "pixelfed";
          LoadCredential = [
            "private:${secret.oauth-private-key.path}"
            "public:${secret.oauth-public-key.path}"
          ];
        };
      };
      pixelfed-data-setup = {
        requires = [
          "fedi-pixelfed-keys.service"
          "fedi-pixelfed-secrets.service"
          # nixpkgs' unit caches configuration in Redis without waiting for it.
          "redis-pixelfed.service"
        ];
        after = [
          "fedi-pixelfed-keys.service"
          "fedi-pixelfed-secrets.service"
          "redis-pixelfed.service"
        ];
      };

      # Makes the first administrator; nothing when it is there. The password is read by
      # PHP itself: `user:create` would want it as an argument.
      fedi-pixelfed-admin = {
        description = "First administrator of Pixelfed";
        requisite = [ "phpfpm-pixelfed.service" ];
        after = [ "phpfpm-pixelfed.service" ];
        script = ''
          exec pixelfed-manage tinker --execute='
            if (!App\User::whereUsername(getenv("FEDI_LOGIN"))->exists()) {
              $user = new App\User;
              $user->name = $user->username = getenv("FEDI_LOGIN");
              $user->email = getenv("FEDI_EMAIL");
              $user->password = bcrypt(trim(file_get_contents(getenv("CREDENTIALS_DIRECTORY") . "/password")));
              $user->is_admin = true;
              $user->email_verified_at = now();
              $user->save();
            }
          '
        '';
        path = [
          # pixelfed-manage is made by nixpkgs' module and is in the system's path only.
          "/run/current-system/sw"
        ];
        environment = {
          FEDI_LOGIN = cfg.admin.login;
          FEDI_EMAIL = fedi.shared.adminEmail config cfg.admin;
          HOME = "/run/fedi-pixelfed-admin";
        };
        serviceConfig = {
          Type = "oneshot";
          User = pixelfed.user;
          Group = pixelfed.group;
          RuntimeDirectory = "fedi-pixelfed-admin";
          LoadCredential = "password:${secret.admin-password.path}";
        };
      };

      # After a restore: what is cached for ever, the instance actor's keys among it, may be
      # another database's. Work that waits, Horizon's records and sessions (forty letters and
      # digits behind the prefix) stay.
      fedi-pixelfed-cache = {
        description = "Clear the cache of Pixelfed";
        requisite = [ "phpfpm-pixelfed.service" ];
        path = [ config.services.redis.package ];
        script = ''
          redis-cli -s ${config.services.redis.servers.pixelfed.unixSocket} -e eval '
            local session = "${cachePrefix}:?" .. string.rep("%w", 40) .. "$"
            local removed, cursor = 0, "0"
            for _, pattern in ipairs(ARGV) do
              repeat
                local page = redis.call("SCAN", cursor, "MATCH", pattern, "COUNT", 1000)
                cursor = page[1]
                for _, key in ipairs(page[2]) do
                  if not key:find(session) then
                    removed = removed + redis.call("UNLINK", key)
                  end
                end
              until cursor == "0"
            end
            return removed
          ' 0 '*${cachePrefix}*' '*pf:services:*'
        '';
        serviceConfig = {
          Type = "oneshot";
          User = pixelfed.user;
          Group = pixelfed.group;
        };
      };

      fedi-pixelfed-drain = fedi.shared.drain {
        description = "Let Pixelfed's queues run out";
        stop = [ "pixelfed-cron.timer" ];
        path = [
          config.services.redis.package
          pkgs.gawk
          pkgs.gnugrep
        ];
        # Work for a later time waits on: it is carried with the rest.
        busy = ''
          socket=${config.services.redis.servers.pixelfed.unixSocket}
          redis-cli -s "$socket" --raw --scan --pattern '*queues:*' \
            | grep --invert-match ':delayed$' | while read -r queue; do
                case $(redis-cli -s "$socket" --raw type "$queue") in
                  list) redis-cli -s "$socket" --raw llen "$queue" ;;
                  zset) redis-cli -s "$socket" --raw zcard "$queue" ;;
                esac
              done | awk '{ sum += $1 } END { print sum + 0 }'
        '';
      };

      fedi-pixelfed-probe = {
        description = "Probe of Pixelfed";
        path = [
          pkgs.curl
          pkgs.jq
        ];
        script = ''
          ask() {
            curl --fail --silent --show-error --max-time 20 --insecure \
              --resolve ${cfg.domain}:443:127.0.0.1 "https://${cfg.domain}$1"
          }
          ask /api/service/health-check
          ask /api/v1/instance | jq --exit-status '.uri | contains("${cfg.domain}")'
        '';
        serviceConfig = {
          Type = "oneshot";
          DynamicUser = true;
        };
      };
    };

    fedi = {
      deployment.domains = [ cfg.domain ];

      contracts = {
        web = {
          app = "pixelfed";
          maintenanceHosts = [ cfg.domain ];
        };
        buckets = lib.optional bucket cfg.media.bucket;

        state.pixelfed = {
          inherit (pixelfed.package) version;
          upgradesFrom = "0.12.0";
          units = [
            "pixelfed-data-setup.service"
            "pixelfed-horizon.service"
            "pixelfed-cron.service"
            "pixelfed-cron.timer"
            "phpfpm-pixelfed.service"
            "fedi-pixelfed-keys.service"
          ];
          claims = {
            prefixes = [
              "pixelfed"
              "phpfpm-pixelfed"
            ];
            users = [ pixelfed.user ];
            helpers = [
              "fedi-pixelfed-admin.service"
              "fedi-pixelfed-cache.service"
            ];
          };

          items = {
            queue.redis = {
              instance = "pixelfed";
              holds = "mixed";
              queues = [ "queues:" ];
            };
            cache.derived.rebuild = "fedi-pixelfed-cache.service";
            # Uploads, avatars, and the marker files that say what was done once.
            files.directory = {
              path = dataDir;
              owner = pixelfed.user;
              inherit (pixelfed) group;
              # Written at each start, out of delivered secrets and the package.
              exclude = [
                ".env"
                "storage/framework"
                "storage/logs"
                "storage/oauth-private.key"
                "storage/oauth-public.key"
              ];
            };
          }
          // (
            if mysql then
              {
                db.mysql = {
                  database = pixelfed.database.name;
                  owner = pixelfed.user;
                };
              }
            else
              {
                db.postgres = {
                  database = pixelfed.database.name;
                  owner = pixelfed.user;
                  major = lib.toInt (lib.versions.major config.services.postgresql.package.version);
                };
              }
          )
          // lib.optionalAttrs bucket {
            media.bucket = {
              inherit (cfg.media) bucket endpoint region;
              accessKey = "s3-key-id";
              secretKey = "s3-secret-key";
              inherit publicBase;
              website = true;
            };
          };
          order = [
            "db"
            "queue"
            "files"
          ]
          ++ lib.optional bucket "media"
          ++ [ "cache" ];

          hooks = {
            drain = {
              unit = "fedi-pixelfed-drain.service";
              timeout = "10m";
            };
            probe = {
              unit = "fedi-pixelfed-probe.service";
              timeout = "2m";
            };
          };
          records = map (name: { inherit name; }) ([ cfg.domain ] ++ lib.optional bucket publicHost);
          endpoints = [
            {
              name = "site";
              url = "https://${cfg.domain}/api/service/health-check";
            }
            {
              name = "instance";
              url = "https://${cfg.domain}/api/v1/instance";
              json = "/uri";
            }
            {
              name = "node information";
              url = "https://${cfg.domain}/.well-known/nodeinfo";
              json = "/links";
            }
          ];
          admin = {
            unit = "fedi-pixelfed-admin.service";
            inherit (cfg.admin) login;
            password = "admin-password";
            url = "https://${cfg.domain}/login";
          };
        };

        gate.pixelfed.starts = [
          "pixelfed-data-setup.service"
          "pixelfed-horizon.service"
          "phpfpm-pixelfed.service"
          "pixelfed-cron.timer"
        ];

        secret.pixelfed = {
          # Encrypted columns and second factors.
          app-key = {
            class = "identity";
            generator = "laravelKey";
            protects = [ "db" ];
          };
          # Every application's token is signed with it.
          oauth-private-key = {
            class = "identity";
            generator.rsaPrivateKey.bits = 4096;
          };
          oauth-public-key = {
            class = "identity";
            generator.rsaPublicKey.of = "oauth-private-key";
          };
          admin-password = {
            class = "session";
            generator.password.length = 20;
          };
        }
        // fedi.shared.smtpSecret cfg.smtp
        // fedi.shared.bucketSecrets cfg.media;

        # Loaded by systemd as a credential: readable for root only.
        render.pixelfed.environment = {
          format = "dotenv";
          content = {
            APP_KEY.secret = "app-key";
          }
          // lib.optionalAttrs (mail && cfg.smtp.user != null) {
            MAIL_PASSWORD.secret = "smtp-password";
          }
          // lib.optionalAttrs bucket {
            AWS_ACCESS_KEY_ID.secret = "s3-key-id";
            AWS_SECRET_ACCESS_KEY.secret = "s3-secret-key";
          };
        };
      };
    };

    assertions = [
      {
        assertion = fedi.shared.adminEmail config cfg.admin != null;
        message = "Pixelfed's first administrator needs a mail address: set fedi.apps.pixelfed.admin.email or the deployment's `admin-email`.";
      }
      {
        assertion = pixelfed.database.createLocally && pixelfed.redis.createLocally;
        message = "fedi.apps.pixelfed keeps its state on this guest: database.createLocally and redis.createLocally must stay true, or the state contract would be wrong.";
      }
    ]
    ++ fedi.shared.bucketAssertions "pixelfed" cfg.media;
  };
}
