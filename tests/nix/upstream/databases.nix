# services.postgresql, services.mysql, services.redis.
# nixpkgs 4aa6836a648ca76c68866decf0c8965e36ec2a3b:
#   nixos/modules/services/databases/{postgresql,mysql,redis}.nix
{
  lib,
  config,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  option = type: default: mkOption { inherit type default; };
  postgresql = config.services.postgresql;
  mysql = config.services.mysql;
  redis = lib.filterAttrs (_: server: server.enable) config.services.redis.servers;
in
{
  options.services = {
    postgresql = {
      enable = option types.bool false;
      package = option types.package pkgs.postgresql_17;
      finalPackage = mkOption {
        type = types.package;
        readOnly = true;
        default = postgresql.package;
      };
      ensureDatabases = option (types.listOf types.str) [ ];
      ensureUsers = option (types.listOf (
        types.submodule {
          options = {
            name = mkOption { type = types.str; };
            ensureDBOwnership = option types.bool false;
            ensureClauses = option (types.submodule {
              freeformType = types.attrsOf (
                types.oneOf [
                  types.str
                  types.int
                  types.bool
                ]
              );
            }) { };
          };
        }
      )) [ ];
      initialScript = option (types.nullOr types.path) null;
      initdbArgs = option (types.listOf types.str) [ ];
      settings = option (types.attrsOf types.anything) { };
    };
    mysql = {
      enable = option types.bool false;
      package = mkOption { type = types.package; };
      dataDir = option types.path "/var/lib/mysql";
      ensureDatabases = option (types.listOf types.str) [ ];
      ensureUsers = option (types.listOf (
        types.submodule {
          options = {
            name = mkOption { type = types.str; };
            ensurePermissions = option (types.attrsOf types.str) { };
          };
        }
      )) [ ];
      settings = option (types.attrsOf (types.attrsOf types.anything)) { };
    };
    redis.package = option types.package pkgs.redis;
    redis.servers = option (types.attrsOf (
      types.submodule (
        { name, config, ... }:
        {
          options = {
            enable = option types.bool false;
            user = option types.str (if name == "" then "redis" else "redis-${name}");
            group = option types.str config.user;
            port = option types.port (if name == "" then 6379 else 0);
            bind = option (types.nullOr types.str) "127.0.0.1";
            unixSocket = option (types.nullOr types.path) (
              if name == "" then "/run/redis/redis.sock" else "/run/redis-${name}/redis.sock"
            );
            unixSocketPerm = option types.int 660;
            save = option (types.listOf (types.listOf types.int)) [
              [
                900
                1
              ]
            ];
            appendOnly = option types.bool false;
            settings = option (types.attrsOf types.anything) { };
          };
        }
      )
    )) { };
  };

  config = lib.mkMerge [
    (lib.mkIf postgresql.enable {
      users.users.postgres = {
        home = "/var/lib/postgresql";
        createHome = true;
        group = "postgres";
      };
      systemd.targets.postgresql = {
        wantedBy = [ "multi-user.target" ];
        requires = [
          "postgresql.service"
          "postgresql-setup.service"
        ];
      };
      systemd.services = {
        postgresql = {
          wants = [ "postgresql.target" ];
          partOf = [ "postgresql.target" ];
          serviceConfig = {
            ExecStart = "postgres";
            User = "postgres";
            StateDirectory = "postgresql postgresql/${lib.versions.major postgresql.package.version}";
          };
        };
        postgresql-setup = {
          requires = [ "postgresql.service" ];
          requiredBy = [ "postgresql.target" ];
          script = "ensure";
          serviceConfig.User = "postgres";
        };
      };
    })
    (lib.mkIf mysql.enable {
      systemd.services.mysql = {
        wantedBy = [ "multi-user.target" ];
        serviceConfig = {
          ExecStart = "mysqld";
          User = "mysql";
          StateDirectory = "mysql";
        };
      };
    })
    {
      systemd.services = lib.mapAttrs' (
        name: server:
        lib.nameValuePair (if name == "" then "redis" else "redis-${name}") {
          wantedBy = [ "multi-user.target" ];
          serviceConfig = {
            ExecStart = "redis-server";
            User = server.user;
            StateDirectory = if name == "" then "redis" else "redis-${name}";
          };
        }
      ) redis;
    }
  ];
}
