# `fedi.contracts.database.<name>`: an empty PostgreSQL database with the encoding,
# locale and extensions that an application demands. It is made outside the gate: an
# empty database is no seed, and a restore needs the place to put the data in.
#
# nixpkgs' own `ensureDatabases` takes the cluster's locale (Synapse refuses that), and
# `initialScript` runs at the first `initdb` only.
{ lib, config, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.fedi.contracts.database;

  quote = name: ''"${name}"'';
  text = value: "'${value}'";

  script =
    name: database:
    let
      locale = lib.optionalString (
        database.locale != null
      ) " LC_COLLATE ${text database.locale} LC_CTYPE ${text database.locale}";
      create = "CREATE DATABASE ${quote name} OWNER ${quote database.owner} TEMPLATE template0 ENCODING ${text database.encoding}${locale}";
    in
    ''
      exists=$(psql -v ON_ERROR_STOP=1 -tAc "SELECT 1 FROM pg_database WHERE datname = '${name}'" postgres)
      if [ "$exists" != 1 ]; then
        psql -v ON_ERROR_STOP=1 postgres <<'SQL'
      ${create};
      SQL
      fi
    ''
    + lib.optionalString (database.locale != null) ''
      collation=$(psql -v ON_ERROR_STOP=1 -tAc "SELECT datcollate FROM pg_database WHERE datname = '${name}'" postgres)
      if [ "$collation" != ${text database.locale} ]; then
        echo "The database ${name} has collation $collation and needs ${database.locale}: dump it and restore it into a new one." >&2
        exit 1
      fi
    ''
    + lib.concatMapStrings (extension: ''
      psql -v ON_ERROR_STOP=1 -c 'CREATE EXTENSION IF NOT EXISTS ${quote extension}' '${name}'
    '') database.extensions;
in
{
  options.fedi.contracts.database = mkOption {
    default = { };
    description = "PostgreSQL databases to make, empty, while the guest is still dormant.";
    type = types.attrsOf (
      types.submodule (
        { name, ... }:
        {
          options = {
            owner = mkOption {
              type = types.str;
              default = name;
              description = "Owning role; made as well.";
            };
            encoding = mkOption {
              type = types.str;
              default = "UTF8";
              description = "Encoding.";
            };
            locale = mkOption {
              type = types.nullOr types.str;
              default = null;
              description = "LC_COLLATE and LC_CTYPE, or null for the cluster's own.";
            };
            extensions = mkOption {
              type = types.listOf types.str;
              default = [ ];
              description = "Extensions to create.";
            };
          };
        }
      )
    );
  };

  config = lib.mkMerge [
    {
      # Letters in the order of their code points: it does not change with the C library,
      # so no index is silently wrong after a move to another system.
      services.postgresql.initdbArgs = lib.mkDefault [
        "--encoding=UTF8"
        "--locale=C.UTF-8"
      ];
    }
    (lib.mkIf (cfg != { }) {
      services.postgresql = {
        enable = lib.mkDefault true;
        ensureUsers = lib.mapAttrsToList (_: database: { name = database.owner; }) cfg;
      };
      systemd.services = lib.mapAttrs' (
        name: database:
        lib.nameValuePair "fedi-database-${name}" {
          description = "PostgreSQL database ${name}";
          after = [ "postgresql-setup.service" ];
          requires = [ "postgresql-setup.service" ];
          # Whoever orders after postgresql.target finds the database there.
          requiredBy = [ "postgresql.target" ];
          before = [ "postgresql.target" ];
          path = [ config.services.postgresql.finalPackage ];
          script = script name database;
          serviceConfig = {
            Type = "oneshot";
            RemainAfterExit = true;
            User = "postgres";
            Group = "postgres";
          };
        }
      ) cfg;
    })
  ];
}
