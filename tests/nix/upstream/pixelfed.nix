# services.pixelfed and the part of services.phpfpm that it uses.
# nixpkgs 4aa6836a648ca76c68866decf0c8965e36ec2a3b:
#   nixos/modules/services/web-apps/pixelfed.nix,
#   nixos/modules/services/web-servers/phpfpm/default.nix
{
  lib,
  config,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  option = type: default: mkOption { inherit type default; };
  cfg = config.services.pixelfed;
  mysql = cfg.database.type == "mysql";
  databaseUnit = if mysql then "mysql.service" else "postgresql.target";
  databaseUnits = lib.optional cfg.database.createLocally databaseUnit;
  redisUnits = lib.optional cfg.redis.createLocally "redis-pixelfed.service";
  service =
    extra:
    {
      User = cfg.user;
      Group = cfg.group;
      StateDirectory = lib.mkIf (cfg.dataDir == "/var/lib/pixelfed") "pixelfed";
    }
    // extra;
in
{
  options.services.pixelfed = {
    enable = option types.bool false;
    package = option types.package pkgs.pixelfed;
    phpPackage = option types.package pkgs.php83;
    user = option types.str "pixelfed";
    group = option types.str "pixelfed";
    domain = mkOption { type = types.str; };
    secretFile = mkOption { type = types.path; };
    settings = mkOption {
      type = types.attrsOf (
        types.oneOf [
          types.bool
          types.int
          types.str
        ]
      );
    };
    nginx = option (types.nullOr (
      types.submodule { options = config.services.nginx.virtualHostOptions; }
    )) null;
    redis.createLocally = option types.bool true;
    database = {
      createLocally = option types.bool true;
      automaticMigrations = option types.bool true;
      type = option (types.enum [
        "mysql"
        "pgsql"
      ]) "mysql";
      name = option types.str "pixelfed";
    };
    maxUploadSize = option types.str "8M";
    poolConfig = option (types.attrsOf (
      types.oneOf [
        types.int
        types.str
        types.bool
      ]
    )) { };
    dataDir = option types.str "/var/lib/pixelfed";
    runtimeDir = option types.str "/run/pixelfed";
    schedulerInterval = option types.str "1d";
  };

  options.services.phpfpm.pools = option (types.attrsOf (
    types.submodule {
      options.phpEnv = option (types.attrsOf types.str) { };
    }
  )) { };

  config = lib.mkIf cfg.enable {
    services.phpfpm.pools.pixelfed = { };
    services.pixelfed.settings = {
      APP_URL = lib.mkDefault "https://${cfg.domain}";
      APP_DOMAIN = lib.mkDefault cfg.domain;
      OPEN_REGISTRATION = lib.mkDefault false;
      ACTIVITY_PUB = lib.mkDefault true;
      OAUTH_ENABLED = lib.mkDefault true;
      LOG_CHANNEL = lib.mkDefault "stderr";
    };
    services.nginx = lib.mkIf (cfg.nginx != null) {
      enable = true;
      virtualHosts.${cfg.domain} = {
        inherit (cfg.nginx) enableACME forceSSL serverAliases;
        root = "${cfg.package}/public/";
        locations = {
          "/".tryFiles = "$uri $uri/ /index.php?$query_string";
          "~ \\.php$".extraConfig = "fastcgi_pass unix:/run/phpfpm/pixelfed.sock;";
        };
        extraConfig = "client_max_body_size ${cfg.maxUploadSize};";
      };
    };
    services.mysql = lib.mkIf (cfg.database.createLocally && mysql) {
      enable = lib.mkDefault true;
      package = lib.mkDefault pkgs.mariadb;
      ensureDatabases = [ cfg.database.name ];
      ensureUsers = [
        {
          name = cfg.user;
          ensurePermissions."${cfg.database.name}.*" = "ALL PRIVILEGES";
        }
      ];
    };
    # Without ownership: on PostgreSQL 15 and later the user can make no table.
    services.postgresql = lib.mkIf (cfg.database.createLocally && !mysql) {
      enable = lib.mkDefault true;
      ensureDatabases = [ cfg.database.name ];
      ensureUsers = [ { name = cfg.user; } ];
    };
    services.redis.servers.pixelfed.enable = lib.mkIf cfg.redis.createLocally true;

    users.users.pixelfed = {
      isSystemUser = true;
      inherit (cfg) group;
    };
    users.users.${config.services.nginx.user}.extraGroups = [ cfg.group ];
    systemd.tmpfiles.rules = [
      "d ${cfg.runtimeDir}/ 0700 ${cfg.user} ${cfg.group} - -"
    ];
    systemd.targets.phpfpm.wantedBy = [ "multi-user.target" ];
    systemd.services = {
      phpfpm-pixelfed = {
        wantedBy = [ "phpfpm.target" ];
        partOf = [ "phpfpm.target" ];
        after = [ "pixelfed-data-setup.service" ];
        requires = [
          "pixelfed-horizon.service"
          "pixelfed-data-setup.service"
        ]
        ++ databaseUnits
        ++ redisUnits;
        # The pool's workers run as the application's user; the unit itself as root.
        serviceConfig = {
          Type = "notify";
          ExecStart = "php-fpm";
        };
      };
      # .env, static files, migrations; instance actor and OAuth keys once, by marker files.
      pixelfed-data-setup = {
        wantedBy = [ "multi-user.target" ];
        after = databaseUnits;
        requires = databaseUnits;
        script = "setup";
        serviceConfig = service {
          Type = "oneshot";
          UMask = "077";
          LoadCredential = "env-secrets:${cfg.secretFile}";
        };
      };
      pixelfed-horizon = {
        wantedBy = [ "multi-user.target" ];
        after = [ "pixelfed-data-setup.service" ];
        requires = [ "pixelfed-data-setup.service" ] ++ databaseUnits ++ redisUnits;
        serviceConfig = service { ExecStart = "pixelfed-manage horizon"; };
      };
      pixelfed-cron.serviceConfig = service { ExecStart = "pixelfed-manage schedule:run"; };
    };
    systemd.timers.pixelfed-cron = {
      wantedBy = [ "timers.target" ];
      after = [ "pixelfed-data-setup.service" ];
      requires = [ "phpfpm-pixelfed.service" ];
      timerConfig = {
        OnBootSec = cfg.schedulerInterval;
        OnUnitActiveSec = cfg.schedulerInterval;
      };
    };
  };
}
