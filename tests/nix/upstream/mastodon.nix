# services.mastodon.
# nixpkgs 4aa6836a648ca76c68866decf0c8965e36ec2a3b, nixos/modules/services/web-apps/mastodon.nix
{
  lib,
  config,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  option = type: default: mkOption { inherit type default; };
  required = type: mkOption { inherit type; };
  cfg = config.services.mastodon;

  file = name: option types.str "/var/lib/mastodon/secrets/${name}";

  common = [
    "redis-mastodon.service"
    "postgresql.target"
    "mastodon-init-db.service"
  ];
  environment = {
    LOCAL_DOMAIN = cfg.localDomain;
    RAILS_ENV = "production";
  }
  // cfg.extraConfig;
  service = extra: {
    inherit environment;
    serviceConfig = {
      User = cfg.user;
      Group = cfg.group;
      StateDirectory = "mastodon";
      CacheDirectory = "mastodon";
      WorkingDirectory = cfg.package;
      UMask = "0027";
      EnvironmentFile = [ "/var/lib/mastodon/.secrets_env" ] ++ cfg.extraEnvFiles;
    }
    // extra;
  };
  long =
    start: wantedBy:
    service { ExecStart = start; }
    // {
      inherit wantedBy;
      # ffmpeg and file.
      path = [ pkgs.coreutils ];
      after = [ "mastodon-init-dirs.service" ] ++ common;
      requires = [ "mastodon-init-dirs.service" ] ++ common;
    };
in
{
  imports = [
    (lib.mkRemovedOptionModule [
      "services"
      "mastodon"
      "otpSecretFile"
    ] "Mastodon 4.4.0 no longer has OTP_SECRET.")
    (lib.mkRemovedOptionModule [
      "services"
      "mastodon"
      "streamingPort"
    ] "Streaming is by unix socket only.")
  ];

  options.services.mastodon = {
    enable = option types.bool false;
    package = option types.package pkgs.mastodon;
    user = option types.str "mastodon";
    group = option types.str "mastodon";
    localDomain = required types.str;
    configureNginx = option types.bool false;
    enableUnixSocket = option types.bool true;
    webPort = option types.port 55001;
    webProcesses = option types.int 2;
    webThreads = option types.int 5;
    streamingProcesses = required types.ints.positive;
    sidekiqThreads = option types.int 25;
    sidekiqProcesses =
      option
        (types.attrsOf (
          types.submodule {
            options = {
              jobClasses = required (
                types.listOf (
                  types.enum [
                    "default"
                    "fasp"
                    "push"
                    "pull"
                    "mailers"
                    "scheduler"
                    "ingress"
                  ]
                )
              );
              threads = required (types.nullOr types.int);
            };
          }
        ))
        {
          all = {
            jobClasses = [ ];
            threads = null;
          };
        };
    vapidPublicKeyFile = file "vapid-public-key";
    vapidPrivateKeyFile = file "vapid-private-key";
    secretKeyBaseFile = file "secret-key-base";
    activeRecordEncryptionDeterministicKeyFile = file "active-record-encryption-deterministic-key";
    activeRecordEncryptionKeyDerivationSaltFile = file "active-record-encryption-key-derivation-salt";
    activeRecordEncryptionPrimaryKeyFile = file "active-record-encryption-primary-key";
    database = {
      createLocally = option types.bool true;
      name = option types.str "mastodon";
      user = option types.str "mastodon";
    };
    redis = {
      createLocally = option types.bool true;
      enableUnixSocket = option types.bool true;
    };
    smtp = {
      createLocally = option types.bool true;
      authenticate = option types.bool false;
      host = option types.str "127.0.0.1";
      port = option types.port 25;
      fromAddress = required types.str;
      user = option (types.nullOr types.str) null;
      passwordFile = option (types.nullOr types.path) null;
    };
    mediaAutoRemove = {
      enable = option types.bool true;
      startAt = option types.str "daily";
      olderThanDays = option types.int 30;
    };
    automaticMigrations = option types.bool true;
    trustedProxy = option types.str "127.0.0.1";
    extraConfig = option types.attrs { };
    extraEnvFiles = option (types.listOf types.path) [ ];
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = cfg.smtp.authenticate -> cfg.smtp.user != null && cfg.smtp.passwordFile != null;
        message = "services.mastodon.smtp.authenticate needs user and passwordFile.";
      }
      {
        assertion =
          lib.count (process: process.jobClasses == [ ] || lib.elem "scheduler" process.jobClasses) (
            lib.attrValues cfg.sidekiqProcesses
          ) == 1;
        message = "Exactly one Sidekiq process must have the job class scheduler.";
      }
    ];

    services.nginx = lib.mkIf cfg.configureNginx {
      enable = true;
      recommendedProxySettings = true;
      upstreams.mastodon-streaming.servers = { };
      virtualHosts.${cfg.localDomain} = {
        enableACME = lib.mkDefault true;
        forceSSL = lib.mkDefault true;
        root = "${cfg.package}/public/";
        locations = {
          "/".tryFiles = "$uri @proxy";
          "/system/".alias = "/var/lib/mastodon/public-system/";
          "@proxy" = {
            proxyPass =
              if cfg.enableUnixSocket then
                "http://unix:/run/mastodon-web/web.socket"
              else
                "http://127.0.0.1:${toString cfg.webPort}";
            proxyWebsockets = true;
          };
          "/api/v1/streaming" = {
            proxyPass = "http://mastodon-streaming";
            proxyWebsockets = true;
          };
        };
      };
    };
    services.postgresql = lib.mkIf cfg.database.createLocally {
      enable = true;
      ensureDatabases = [ cfg.database.name ];
      ensureUsers = [
        {
          inherit (cfg.database) name;
          ensureDBOwnership = true;
        }
      ];
    };
    services.redis.servers.mastodon.enable = lib.mkIf cfg.redis.createLocally true;
    users.users.mastodon = {
      isSystemUser = true;
      inherit (cfg) group;
    };
    users.groups.${cfg.group}.members = lib.optional cfg.configureNginx config.services.nginx.user;

    systemd.targets = {
      mastodon.wantedBy = [ "multi-user.target" ];
      mastodon-streaming.wantedBy = [
        "multi-user.target"
        "mastodon.target"
      ];
    };
    systemd.services = {
      # Makes the keys whose files are missing, then .secrets_env out of all of them.
      mastodon-init-dirs = {
        inherit environment;
        script = "keys";
        serviceConfig = {
          Type = "oneshot";
          User = cfg.user;
          StateDirectory = "mastodon";
        };
      };
      # Seeds an empty database, migrates any other.
      mastodon-init-db = lib.mkIf cfg.automaticMigrations (
        service { Type = "oneshot"; }
        // {
          script = "seed or migrate";
          after = [
            "mastodon-init-dirs.service"
            "postgresql.target"
          ];
          requires = [
            "mastodon-init-dirs.service"
            "postgresql.target"
          ];
        }
      );
      mastodon-web = long "puma" [ "mastodon.target" ];
      mastodon-media-auto-remove = lib.mkIf cfg.mediaAutoRemove.enable (
        service { Type = "oneshot"; }
        // {
          script = "tootctl media remove";
          inherit (cfg.mediaAutoRemove) startAt;
        }
      );
    }
    // lib.mapAttrs' (
      name: _: lib.nameValuePair "mastodon-sidekiq-${name}" (long "sidekiq" [ "mastodon.target" ])
    ) cfg.sidekiqProcesses
    // lib.listToAttrs (
      map (
        number:
        lib.nameValuePair "mastodon-streaming-${toString number}" (
          long "streaming" [
            "mastodon.target"
            "mastodon-streaming.target"
          ]
        )
      ) (lib.range 1 cfg.streamingProcesses)
    );
  };
}
