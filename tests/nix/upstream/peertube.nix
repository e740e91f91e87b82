# services.peertube.
# nixpkgs 4aa6836a648ca76c68866decf0c8965e36ec2a3b, nixos/modules/services/web-apps/peertube.nix
{
  lib,
  config,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  option = type: default: mkOption { inherit type default; };
  cfg = config.services.peertube;
  json = (pkgs.formats.json { }).type;
in
{
  options.services.peertube = {
    enable = option types.bool false;
    package = option types.package pkgs.peertube;
    user = option types.str "peertube";
    group = option types.str "peertube";
    localDomain = mkOption { type = types.str; };
    listenHttp = option types.port 9000;
    listenWeb = option types.port 9000;
    enableWebHttps = option types.bool false;
    configureNginx = option types.bool false;
    dataDirs = option (types.listOf types.path) [ ];
    serviceEnvironmentFile = option (types.nullOr types.path) null;
    secrets.secretsFile = option (types.nullOr types.path) null;
    database = {
      createLocally = option types.bool false;
      name = option types.str "peertube";
      user = option types.str "peertube";
    };
    redis = {
      createLocally = option types.bool false;
      enableUnixSocket = option types.bool cfg.redis.createLocally;
    };
    smtp = {
      createLocally = option types.bool false;
      passwordFile = option (types.nullOr types.path) null;
    };
    settings = mkOption {
      type = types.submodule {
        freeformType = types.attrsOf json;
        options.video_transcription.enabled = option types.bool false;
      };
    };
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = cfg.secrets.secretsFile != null;
        message = "services.peertube.secrets.secretsFile needs to be set.";
      }
    ];
    services.peertube.settings = {
      webserver = {
        hostname = cfg.localDomain;
        https = cfg.enableWebHttps;
        port = cfg.listenWeb;
      };
      listen.port = cfg.listenHttp;
      storage = lib.genAttrs [
        "avatars"
        "cache"
        "captions"
        "logs"
        "redundancy"
        "streaming_playlists"
        "thumbnails"
        "tmp"
        "web_videos"
      ] (name: lib.mkDefault "/var/lib/peertube/storage/${lib.replaceStrings [ "_" ] [ "-" ] name}/");
    };
    services.nginx = lib.mkIf cfg.configureNginx {
      enable = true;
      virtualHosts.${cfg.localDomain} = {
        root = "/var/lib/peertube/www";
        locations = {
          "/" = {
            tryFiles = "/dev/null @api";
            priority = 1110;
          };
          "@api" = {
            proxyPass = "http://peertube";
            priority = 1170;
          };
          "^~ /static/web-videos/" = {
            alias = cfg.settings.storage.web_videos;
            tryFiles = "$uri @api";
            priority = 1470;
          };
        };
      };
    };
    services.postgresql.enable = lib.mkIf cfg.database.createLocally true;
    services.redis.servers.peertube.enable = lib.mkIf cfg.redis.createLocally true;
    users.users.peertube = {
      isSystemUser = true;
      inherit (cfg) group;
    };
    users.groups.${cfg.group}.members = lib.optional cfg.configureNginx config.services.nginx.user;
    systemd.tmpfiles.rules = [
      "d '/var/lib/peertube/config' 0700 ${cfg.user} ${cfg.group} - -"
      "d '/var/lib/peertube/www' 0750 ${cfg.user} ${cfg.group} - -"
    ];
    systemd.services = {
      peertube = {
        wantedBy = [ "multi-user.target" ];
        requires =
          lib.optional cfg.redis.createLocally "redis-peertube.service"
          ++ lib.optionals cfg.database.createLocally [
            "postgresql.target"
            "peertube-init-db.service"
          ];
        after = [ "network.target" ];
        environment.HOME = "${cfg.package}";
        # Writes config/local.yaml out of the secret files, then runs the server.
        script = "server";
        serviceConfig = {
          User = cfg.user;
          Group = cfg.group;
          StateDirectory = "peertube";
          CacheDirectory = "peertube";
          EnvironmentFile = cfg.serviceEnvironmentFile;
          UMask = "0027";
        };
      };
    }
    // lib.optionalAttrs cfg.database.createLocally {
      # As postgres: role, database, the extensions pg_trgm and unaccent, if missing.
      peertube-init-db = {
        after = [ "postgresql.target" ];
        requires = [ "postgresql.target" ];
        script = "psql";
        serviceConfig = {
          Type = "oneshot";
          User = "postgres";
        };
      };
    };
  };
}
