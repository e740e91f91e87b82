# SelfHostBlocks, both ways. Its contracts are pairs of a request and a result: `backup`
# (folders), `databasebackup` (a command each way) and `secret`
# (github.com/ibizaman/selfhostblocks, modules/contracts/*.nix).
#
# out: an application of fedi as requests, for SelfHostBlocks' restic or borg:
#   shb.restic.instances.media.request = config.fedi.compat.shb.out.matrix.backup.media.request;
# in: a service of SelfHostBlocks as state of fedi:
#   fedi.compat.shb.in.forgejo.backup.files.request = config.shb.forgejo.backup.request;
#
# Database commands fail when the dump fails: `pipefail`, `ON_ERROR_STOP`, and the running
# server's own programs.
{
  lib,
  config,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  fedi = import ../../lib { inherit lib; };
  cfg = config.fedi.compat.shb;
  cluster = config.services.postgresql.finalPackage;

  command =
    name: text:
    let
      script = pkgs.writeShellApplication {
        inherit name text;
        runtimeInputs = [ ];
      };
    in
    lib.getExe script;

  ofKind = kind: items: lib.filterAttrs (_: item: item ? ${kind}) items;

  folder = item: {
    user = "root";
    sourceDirectories = [ item.directory.path ];
    excludePatterns = map (pattern: "${item.directory.path}/${pattern}") item.directory.exclude;
    hooks = {
      beforeBackup = [ ];
      afterBackup = [ ];
    };
  };

  postgres =
    app: name: item:
    let
      inherit (item.postgres) database owner skipRows;
      skip = lib.concatMapStrings (table: " --exclude-table-data=${lib.escapeShellArg table}") skipRows;
    in
    {
      user = "postgres";
      backupName = "${app}-${name}.sql";
      backupCmd = command "fedi-${app}-${name}-dump" ''
        ${cluster}/bin/pg_dump --format=plain --no-owner${skip} ${lib.escapeShellArg database}
      '';
      restoreCmd = command "fedi-${app}-${name}-restore" ''
        tables=$(${cluster}/bin/psql -v ON_ERROR_STOP=1 -tAc "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'" ${lib.escapeShellArg database})
        if [ "$tables" != 0 ]; then
          echo "The database ${database} is not empty; it is only restored into an empty one." >&2
          exit 1
        fi
        { echo 'SET ROLE "${owner}";'; cat; } | ${cluster}/bin/psql -v ON_ERROR_STOP=1 --single-transaction ${lib.escapeShellArg database}
      '';
    };

  mysql =
    app: name: item:
    let
      server = config.services.mysql.package;
      inherit (item.mysql) database;
    in
    {
      user = "root";
      backupName = "${app}-${name}.sql";
      backupCmd = command "fedi-${app}-${name}-dump" ''
        ${server}/bin/mariadb-dump --single-transaction --routines ${lib.escapeShellArg database}
      '';
      restoreCmd = command "fedi-${app}-${name}-restore" ''
        ${server}/bin/mariadb --abort-source-on-error ${lib.escapeShellArg database}
      '';
    };

  wrap = lib.mapAttrs (_: request: { inherit request; });

  # Requests as SelfHostBlocks' services make them.
  backupRequest = types.submodule {
    freeformType = types.attrsOf types.anything;
    options = {
      user = mkOption {
        type = types.str;
        description = "Who owns the files.";
      };
      sourceDirectories = mkOption {
        type = types.nonEmptyListOf types.str;
        description = "The folders.";
      };
      excludePatterns = mkOption {
        type = types.listOf types.str;
        default = [ ];
        description = "What is left out.";
      };
      hooks = {
        beforeBackup = mkOption {
          type = types.listOf types.str;
          default = [ ];
          description = "Shell that fedi does not run.";
        };
        afterBackup = mkOption {
          type = types.listOf types.str;
          default = [ ];
          description = "Shell that fedi does not run.";
        };
      };
    };
  };
  secretRequest = types.submodule {
    freeformType = types.attrsOf types.anything;
    options = {
      mode = mkOption {
        type = fedi.types.octalMode;
        default = "0400";
        description = "Mode of the file.";
      };
      owner = mkOption {
        type = types.str;
        default = "root";
        description = "Owner of the file.";
      };
      group = mkOption {
        type = types.str;
        default = "root";
        description = "Group of the file.";
      };
      restartUnits = mkOption {
        type = types.listOf types.str;
        default = [ ];
        description = "Units to restart when it changes.";
      };
    };
  };

  # `files` with two folders becomes the items `files` and `files-2`.
  folders =
    requests:
    lib.concatMapAttrs (
      name: it:
      lib.listToAttrs (
        lib.imap1 (
          number: path:
          lib.nameValuePair (if number == 1 then name else "${name}-${toString number}") {
            directory = {
              inherit path;
              owner = it.request.user;
              exclude = map (lib.removePrefix "${path}/") (
                lib.filter (
                  pattern: !lib.hasPrefix "/" pattern || lib.hasPrefix "${path}/" pattern
                ) it.request.excludePatterns
              );
            };
          }
        ) it.request.sourceDirectories
      )
    ) requests;
in
{
  options.fedi.compat.shb = {
    out = mkOption {
      type = types.attrsOf types.raw;
      readOnly = true;
      description = "Every application's state as requests of SelfHostBlocks' contracts.";
    };
    "in" = mkOption {
      default = { };
      description = "Requests of SelfHostBlocks' services that fedi is to fulfil, by application.";
      type = types.attrsOf (
        types.submodule (
          { name, ... }:
          let
            app = name;
          in
          {
            options = {
              backup = mkOption {
                default = { };
                description = "`backup` requests; each folder becomes an item.";
                type = types.attrsOf (
                  types.submodule {
                    options.request = mkOption {
                      type = backupRequest;
                      description = "The request.";
                    };
                  }
                );
              };
              databases = mkOption {
                type = types.attrsOf types.str;
                default = { };
                description = ''
                  PostgreSQL databases behind a `databasebackup` request, with their owners. Its
                  commands are not used: they dump the whole cluster.
                '';
              };
              secret = mkOption {
                default = { };
                description = "`secret` requests; `result.path` is where fedi puts the file.";
                type = types.attrsOf (
                  types.submodule (
                    { name, ... }:
                    {
                      options = {
                        request = mkOption {
                          type = secretRequest;
                          default = { };
                          description = "The request.";
                        };
                        class = mkOption {
                          type = types.enum [
                            "identity"
                            "session"
                            "rotatable"
                          ];
                          default = "identity";
                          description = "What SelfHostBlocks does not say: what may happen to it.";
                        };
                        bytes = mkOption {
                          type = types.ints.positive;
                          default = 32;
                          description = "Random bytes that it is made of.";
                        };
                        result.path = mkOption {
                          type = types.str;
                          readOnly = true;
                          default = config.fedi.contracts.secret.${app}.${name}.path;
                          defaultText = lib.literalExpression "config.fedi.contracts.secret.<app>.<name>.path";
                          description = "Where the file lies.";
                        };
                      };
                    }
                  )
                );
              };
            };
          }
        )
      );
    };
  };

  config = {
    fedi.compat.shb.out = lib.mapAttrs (app: state: {
      backup = wrap (lib.mapAttrs (_: folder) (ofKind "directory" state.items));
      databasebackup = wrap (
        lib.mapAttrs (postgres app) (ofKind "postgres" state.items)
        // lib.mapAttrs (mysql app) (ofKind "mysql" state.items)
      );
      secret = wrap (
        lib.mapAttrs (_: it: {
          inherit (it)
            mode
            owner
            group
            restartUnits
            ;
        }) (config.fedi.contracts.secret.${app} or { })
      );
    }) config.fedi.contracts.state;

    fedi.contracts = {
      state = lib.mapAttrs (_: it: {
        items =
          folders it.backup
          // lib.mapAttrs (database: owner: {
            postgres = {
              inherit database owner;
              major = lib.toInt (lib.versions.major config.services.postgresql.package.version);
            };
          }) it.databases;
      }) cfg."in";
      secret = lib.mapAttrs (
        _: it:
        lib.mapAttrs (_: wanted: {
          inherit (wanted) class;
          inherit (wanted.request)
            mode
            owner
            group
            restartUnits
            ;
          generator.hex = { inherit (wanted) bytes; };
        }) it.secret
      ) cfg."in";
    };

    assertions = lib.concatLists (
      lib.mapAttrsToList (
        app: it:
        lib.mapAttrsToList (name: wanted: {
          assertion = wanted.request.hooks.beforeBackup == [ ] && wanted.request.hooks.afterBackup == [ ];
          message = "fedi.compat.shb.in.${app}.backup.${name} brings shell hooks, which fedi does not run: make them a systemd unit and name it in fedi.contracts.state.${app}.hooks.";
        }) it.backup
      ) cfg."in"
    );
  };
}
