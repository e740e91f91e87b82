# PeerTube with PostgreSQL, Redis and nginx.
#
# What nixpkgs' module or PeerTube would do by itself and must not here:
# - settings changed in the browser go into `config/local-production.json`, which wins over
#   the declared ones: switched off, or carried as state;
# - S3 access control lists, which Garage does not have, are not sent;
# - buckets are addressed by host name; see `media.pathStyle`.
{
  lib,
  config,
  pkgs,
  ...
}:
let
  inherit (lib) mkDefault mkIf;
  fedi = import ../../modules/lib { inherit lib; };
  cfg = config.fedi.apps.peertube;
  peertube = config.services.peertube;
  secret = config.fedi.contracts.secret.peertube;
  rendered = config.fedi.contracts.render.peertube;
  inherit (peertube.package) version;

  bucket = cfg.media.store == "bucket";
  mail = cfg.smtp.host != null;
  publicHost = fedi.shared.publicHost cfg.media cfg.domain;
  publicBase = "https://${publicHost}";
  local = "http://127.0.0.1:${toString peertube.listenHttp}";

  # Sections of `object_storage`; 9.0 keeps everything in the bucket or nothing.
  sections = [
    "streaming_playlists"
    "web_videos"
    "user_exports"
    "original_video_files"
    "captions"
  ]
  ++ lib.optionals (lib.versionAtLeast version "9") [
    "avatars"
    "cache"
    "redundancy"
    "staging"
    "storyboards"
    "thumbnails"
    "torrents"
    "uploads"
  ];

  transcoding = {
    enabled = cfg.transcoding.enable;
    inherit (cfg.transcoding) threads concurrency;
    resolutions = lib.genAttrs [
      "240p"
      "360p"
      "480p"
      "720p"
      "1080p"
      "1440p"
      "2160p"
    ] (resolution: lib.elem resolution cfg.transcoding.resolutions);
    original_file.keep = cfg.transcoding.keepOriginal;
  };
in
{
  imports = [ ../../modules/core.nix ];

  options.fedi.apps.peertube = import ./options.nix { inherit lib fedi; };

  config = mkIf cfg.enable {
    services.peertube = {
      enable = true;
      localDomain = cfg.domain;
      # Scheme and port are in every address that other servers keep.
      enableWebHttps = true;
      listenWeb = 443;
      configureNginx = true;
      database.createLocally = true;
      redis.createLocally = true;
      secrets.secretsFile = secret.secret.path;
      serviceEnvironmentFile = rendered.environment.path;
      smtp = {
        createLocally = false;
        passwordFile = mkIf (mail && cfg.smtp.user != null) secret.smtp-password.path;
      };
      settings = {
        listen.hostname = mkDefault "127.0.0.1";
        admin.email = fedi.shared.adminEmail config cfg.admin;
        instance = {
          name = if cfg.instanceName == null then cfg.domain else cfg.instanceName;
          short_description = cfg.shortDescription;
          inherit (cfg) languages;
        };
        signup = {
          enabled = cfg.registration.enable;
          requires_approval = cfg.registration.approval;
          requires_email_verification = mail;
        };
        user = {
          video_quota = cfg.quota.total;
          video_quota_daily = cfg.quota.daily;
        };
        inherit transcoding;
        live = {
          enabled = cfg.live.enable;
          max_instance_lives = cfg.live.maxInstances;
        };
        import.videos.http.enabled = cfg.imports;
        search.remote_uri = {
          users = cfg.search;
          anonymous = false;
        };
        webadmin.configuration.edition.allowed = cfg.webConfiguration;
      }
      // lib.optionalAttrs mail {
        smtp = {
          hostname = cfg.smtp.host;
          inherit (cfg.smtp) port;
          tls = cfg.smtp.security == "tls";
          disable_starttls = cfg.smtp.security == "none";
          from_address = fedi.shared.sender cfg.smtp cfg.domain;
        }
        // lib.optionalAttrs (cfg.smtp.user != null) { username = cfg.smtp.user; };
      }
      // lib.optionalAttrs bucket {
        object_storage = {
          enabled = true;
          inherit (cfg.media) endpoint region;
          # Garage has no access control lists; private files stay behind unguessable names.
          upload_acl = {
            public = null;
            private = null;
          };
          proxy.proxify_private_files = false;
        }
        // lib.optionalAttrs cfg.media.pathStyle { force_path_style = true; }
        // lib.genAttrs sections (section: {
          bucket_name = cfg.media.bucket;
          prefix = "${lib.replaceStrings [ "_" ] [ "-" ] section}/";
          base_url = publicBase;
        });
      };
    };

    services.nginx.virtualHosts = {
      ${cfg.domain} = {
        enableACME = mkDefault true;
        forceSSL = mkDefault true;
      };
    }
    // lib.optionalAttrs bucket { ${publicHost} = fedi.shared.mediaHost cfg.media.webEndpoint; };

    networking.firewall.allowedTCPPorts = lib.optional cfg.live.enable 1935;

    systemd.services = {
      peertube = {
        # nixpkgs' is the package in the store: what a tool keeps at home could not be written.
        environment = {
          HOME = lib.mkForce "/var/cache/peertube";
        }
        // fedi.shared.bucketEnvironment cfg.media;
        requires = [ "fedi-peertube-secrets.service" ];
        after = [ "fedi-peertube-secrets.service" ];
      };

      # PeerTube makes `root` itself at its first start, with the delivered password.
      fedi-peertube-admin = {
        description = "First administrator of PeerTube";
        requisite = [ "peertube.service" ];
        after = [ "peertube.service" ];
        path = [ pkgs.curl ];
        script = ''
          curl --fail --silent --show-error --retry 60 --retry-delay 2 --retry-connrefused \
            --header 'Host: ${cfg.domain}' ${local}/api/v1/accounts/root > /dev/null
        '';
        serviceConfig = {
          Type = "oneshot";
          DynamicUser = true;
        };
      };

      fedi-peertube-drain = fedi.shared.drain {
        description = "Let PeerTube's jobs run out";
        path = [
          config.services.redis.package
          pkgs.gawk
        ];
        busy = ''
          socket=${config.services.redis.servers.peertube.unixSocket}
          { redis-cli -s "$socket" --raw --scan --pattern 'bull-*:wait'
            redis-cli -s "$socket" --raw --scan --pattern 'bull-*:active'; } \
            | while read -r list; do redis-cli -s "$socket" --raw llen "$list"; done \
            | awk '{ sum += $1 } END { print sum + 0 }'
        '';
      };

      fedi-peertube-probe = {
        description = "Probe of PeerTube";
        path = [
          pkgs.curl
          pkgs.gnugrep
          pkgs.jq
        ];
        script = ''
          ask() {
            curl --fail --silent --show-error --max-time 20 --header 'Host: ${cfg.domain}' "${local}$1"
          }
          ask /api/v1/ping | grep --quiet pong
          ask /api/v1/config | jq --exit-status '.serverVersion == "${version}"'
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
          app = "peertube";
          maintenanceHosts = [ cfg.domain ];
        };
        # peertube-init-db makes the same at the first start; a restore comes before that.
        database.peertube.extensions = [
          "pg_trgm"
          "unaccent"
        ];
        buckets = lib.optional bucket cfg.media.bucket;

        state.peertube = {
          inherit version;
          # Crossing 8.1 needs a script that runs beside the server (upstream's release notes).
          upgradesFrom = "8.1.0";
          units = [
            "peertube.service"
            "peertube-init-db.service"
          ];
          claims = {
            prefixes = [ "peertube" ];
            users = [ peertube.user ];
          };

          items = {
            db.postgres = {
              database = peertube.database.name;
              owner = peertube.database.user;
              major = lib.toInt (lib.versions.major config.services.postgresql.package.version);
              extensions = [
                "pg_trgm"
                "unaccent"
              ];
            };
            jobs.redis = {
              instance = "peertube";
              holds = "mixed";
              queues = [ "bull-" ];
            };
            storage.directory = {
              path = "/var/lib/peertube/storage";
              owner = peertube.user;
              inherit (peertube) group;
              # Fetched or made again.
              exclude = [
                "bin"
                "cache"
                "logs"
                "redundancy"
                "tmp"
              ];
            };
          }
          // lib.optionalAttrs cfg.webConfiguration {
            configuration.directory = {
              path = "/var/lib/peertube/config";
              owner = peertube.user;
              inherit (peertube) group;
              # Links into the store, and the file that secrets are written to at each start.
              exclude = [
                "default.yaml"
                "local.yaml"
                "production.json"
              ];
            };
          }
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
            "jobs"
            "storage"
          ]
          ++ lib.optional cfg.webConfiguration "configuration"
          ++ lib.optional bucket "media";

          hooks = {
            drain = {
              unit = "fedi-peertube-drain.service";
              timeout = "30m";
            };
            probe = {
              unit = "fedi-peertube-probe.service";
              timeout = "2m";
            };
          };
          records = map (name: { inherit name; }) ([ cfg.domain ] ++ lib.optional bucket publicHost);
          endpoints = [
            {
              name = "ping";
              url = "https://${cfg.domain}/api/v1/ping";
            }
            {
              name = "configuration";
              url = "https://${cfg.domain}/api/v1/config";
              json = "/serverVersion";
              equals = version;
            }
            {
              name = "node information";
              url = "https://${cfg.domain}/.well-known/nodeinfo";
              json = "/links";
            }
          ];
          admin = {
            unit = "fedi-peertube-admin.service";
            login = "root";
            password = "admin-password";
            url = "https://${cfg.domain}/login";
          };
        };

        gate.peertube.starts = [ "peertube.service" ];

        secret.peertube =
          let
            # peertube.service reads them as the application's user.
            ours = {
              owner = peertube.user;
              inherit (peertube) group;
            };
          in
          {
            secret = ours // {
              class = "identity";
              generator.hex.bytes = 32;
              protects = [ "db" ];
              restartUnits = [ "peertube.service" ];
            };
            admin-password = {
              class = "session";
              generator.password.length = 20;
            };
          }
          // lib.mapAttrs (_: it: it // ours) (fedi.shared.smtpSecret cfg.smtp)
          // fedi.shared.bucketSecrets cfg.media;

        render.peertube.environment = {
          format = "env";
          content = {
            PT_INITIAL_ROOT_PASSWORD.secret = "admin-password";
          }
          // lib.optionalAttrs bucket {
            AWS_ACCESS_KEY_ID.secret = "s3-key-id";
            AWS_SECRET_ACCESS_KEY.secret = "s3-secret-key";
          };
        };

        ignore."directory:/var/lib/peertube" =
          "Only storage below it is state (and config, where settings can be changed in the browser): items of their own. The rest is links into the store and delivered secrets.";
      };
    };

    warnings = lib.optional (lib.versionOlder version "8.2.4") "PeerTube ${version} has known holes that are being used: 8.2.4 closes them. Take a newer nixpkgs.";

    assertions = [
      {
        assertion = fedi.shared.adminEmail config cfg.admin != null;
        message = "PeerTube wants its administrator's mail address: set fedi.apps.peertube.admin.email or the deployment's `admin-email`.";
      }
      {
        assertion = peertube.enableWebHttps && peertube.listenWeb == 443;
        message = "PeerTube's scheme and port are part of every address that other servers keep: enableWebHttps and listenWeb 443 must stay.";
      }
      {
        assertion = cfg.registration.enable && !cfg.registration.approval -> mail;
        message = "Open registration without approval needs a mail relay (fedi.apps.peertube.smtp.host) to confirm addresses with.";
      }
    ]
    ++ fedi.shared.bucketAssertions "peertube" cfg.media;
  };
}
