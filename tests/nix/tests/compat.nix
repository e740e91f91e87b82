# The adapters to SelfHostBlocks and Clan, both ways. Their own types stand here in our
# own words, so that a request that they would refuse fails.
{
  lib,
  eval,
  systems,
  ...
}:
let
  inherit (lib) types mkOption;
  option = type: mkOption { inherit type; };

  matrix = eval.evalConfig systems.matrix-local;
  pixelfed = eval.evalConfig systems.pixelfed-mysql-local;
  shb = matrix.fedi.compat.shb.out.matrix;

  conforms =
    type: value:
    builtins.deepSeq
      (lib.evalModules {
        modules = [
          { options.value = option type; }
          { inherit value; }
        ];
      }).config.value
      true;

  # selfhostblocks, modules/contracts/{backup,databasebackup,secret}.nix, bc3234e
  backup = types.submodule {
    options = {
      user = option types.str;
      sourceDirectories = option (types.nonEmptyListOf types.str);
      excludePatterns = option (types.listOf types.str);
      hooks = option (
        types.submodule {
          options = {
            beforeBackup = option (types.listOf types.str);
            afterBackup = option (types.listOf types.str);
          };
        }
      );
    };
  };
  databasebackup = types.submodule {
    options = {
      user = option types.str;
      backupName = option types.str;
      backupCmd = option types.str;
      restoreCmd = option types.str;
    };
  };
  secret = types.submodule {
    options = {
      mode = option types.str;
      owner = option types.str;
      group = option types.str;
      restartUnits = option (types.listOf types.str);
    };
  };

  # A service of SelfHostBlocks, carried by fedi.
  forgejo =
    extra:
    eval.evalConfig [
      {
        fedi.contracts.state.forgejo = {
          version = "11.0.0";
          upgradesFrom = "10.0.0";
          order = [
            "forgejo"
            "files"
            "files-2"
          ];
        };
        fedi.compat.shb."in".forgejo = {
          backup.files.request = {
            user = "forgejo";
            sourceDirectories = [
              "/var/lib/forgejo/repositories"
              "/var/lib/forgejo/data"
            ];
            excludePatterns = [ "/var/lib/forgejo/data/tmp" ];
          };
          databases.forgejo = "forgejo";
          secret.internal-token.request = {
            mode = "0440";
            owner = "forgejo";
            group = "forgejo";
            restartUnits = [ "forgejo.service" ];
          };
        };
        fedi.contracts.database.forgejo = { };
      }
      extra
    ];

  clanGarage =
    extra:
    eval.evalConfig [
      {
        fedi.contracts.state.store = {
          version = "2.1.0";
          upgradesFrom = "2.0.0";
          order = [
            "meta"
            "data"
          ];
        };
        fedi.compat.clan."in".store = {
          folders = [
            "/var/lib/garage/meta"
            "/srv/garage/data"
          ];
          owner = "garage";
          preBackupCommand = "clan-made-name";
        }
        // extra;
      }
    ];
in
{
  "every folder is a backup request that SelfHostBlocks takes" = {
    expr = lib.mapAttrs (_: it: conforms backup it.request) shb.backup;
    expected = {
      media = true;
      tls = true;
    };
  };
  "exclusions become absolute patterns" = {
    expr = lib.elem "/var/lib/matrix-synapse/media_store/url_cache" shb.backup.media.request.excludePatterns;
    expected = true;
  };
  "a PostgreSQL database is a database backup request" = {
    expr = conforms databasebackup shb.databasebackup.db.request;
    expected = true;
  };
  "a MariaDB database is one too" = {
    expr = conforms databasebackup pixelfed.fedi.compat.shb.out.pixelfed.databasebackup.db.request;
    expected = true;
  };
  "every secret is a secret request" = {
    expr = lib.all (it: conforms secret it.request) (lib.attrValues shb.secret);
    expected = true;
  };
  "a service of SelfHostBlocks becomes state of fedi" = {
    expr =
      let
        config = forgejo { };
      in
      {
        failed = eval.failed config;
        inherit (config.fedi.manifest.apps.forgejo.items) files files-2;
        database = config.fedi.manifest.apps.forgejo.items.forgejo.postgres.owner;
        path = config.fedi.compat.shb."in".forgejo.secret.internal-token.result.path;
        inherit (config.fedi.manifest.apps.forgejo.secrets.internal-token) mode owner class;
      };
    expected = {
      failed = [ ];
      files.directory = {
        path = "/var/lib/forgejo/repositories";
        owner = "forgejo";
        exclude = [ ];
        atLeastFiles = 0;
        atLeastBytes = 0;
      };
      files-2.directory = {
        path = "/var/lib/forgejo/data";
        owner = "forgejo";
        exclude = [ "tmp" ];
        atLeastFiles = 0;
        atLeastBytes = 0;
      };
      database = "forgejo";
      path = "/var/lib/fedi/secrets/forgejo/internal-token";
      mode = "0440";
      owner = "forgejo";
      class = "identity";
    };
  };
  "shell hooks of SelfHostBlocks are refused" = {
    expr = lib.any (lib.hasInfix "brings shell hooks") (
      eval.failed (forgejo {
        fedi.compat.shb."in".forgejo.backup.files.request.hooks.beforeBackup = [ "true" ];
      })
    );
    expected = true;
  };
  "Clan gets folders, and the gate is stopped around a restore" = {
    expr = matrix.fedi.compat.clan.out.state.fedi-matrix;
    expected = {
      folders = [
        "/var/lib/matrix-synapse/media_store"
        "/var/lib/acme"
      ];
      preRestoreScript = "systemctl stop fedi-matrix.target";
      postRestoreScript = "systemctl start fedi-matrix.target";
    };
  };
  "Clan gets databases with their collation" = {
    expr = matrix.fedi.compat.clan.out.databases.matrix-synapse;
    expected = {
      create = {
        enable = false;
        options = {
          ENCODING = "UTF8";
          OWNER = "matrix-synapse";
          LC_COLLATE = "C";
          LC_CTYPE = "C";
        };
      };
      restore.stopOnRestore = [ "fedi-matrix.target" ];
    };
  };
  "an entry of Clan becomes state of fedi" = {
    expr =
      let
        config = clanGarage { };
      in
      {
        failed = eval.failed config;
        paths = lib.mapAttrs (_: item: item.directory.path) config.fedi.manifest.apps.store.items;
      };
    expected = {
      failed = [ ];
      paths = {
        meta = "/var/lib/garage/meta";
        data = "/srv/garage/data";
      };
    };
  };
  "shell of Clan is refused" = {
    expr = lib.any (lib.hasInfix "brings a preBackupScript") (
      eval.failed (clanGarage {
        preBackupScript = "true";
      })
    );
    expected = true;
  };
}
