# The kinds of state: a closed sum. `attrTag` means exactly one kind, and a misspelt
# one is an evaluation error; the JSON is `{ "postgres": { ... } }`, which is how
# `orchestrator/fedi-model/src/manifest.rs` reads it.
{ lib, fedi }:
let
  inherit (lib) mkOption types;
  nullOr =
    type: description:
    mkOption {
      type = types.nullOr type;
      default = null;
      inherit description;
    };
  required =
    type: description:
    mkOption {
      inherit type description;
    };
  listOf =
    type: description:
    mkOption {
      type = types.listOf type;
      default = [ ];
      inherit description;
    };
  floor =
    what:
    mkOption {
      type = types.ints.unsigned;
      default = 0;
      description = "Fewer ${what} than this means that something is wrong, not that the folder is small.";
    };

  kinds = {
    postgres = {
      database = required types.str "Database name.";
      owner = required types.str "Owning role.";
      major = required types.ints.positive "Major version of the server.";
      encoding = mkOption {
        type = types.str;
        default = "UTF8";
        description = "Encoding.";
      };
      locale = nullOr types.str "LC_COLLATE and LC_CTYPE; Synapse needs `C`.";
      extensions = listOf types.str "Extensions to create before the data comes.";
      skipRows = listOf types.str "Tables whose rows are left out; the table itself is kept.";
    };

    mysql = {
      database = required types.str "Database name.";
      owner = required types.str "User that owns it.";
    };

    redis = {
      instance = required types.str "Instance: `services.redis.servers.<instance>`.";
      holds = required (types.enum [
        "cache"
        "queue"
        "mixed"
      ]) "Whether losing it loses anything.";
      queues = listOf types.str "Key prefixes whose entries are counted as queued work.";
    };

    bucket = {
      bucket = required types.str "Bucket name.";
      endpoint = required fedi.types.httpUrl "URL of the S3 endpoint.";
      region = required types.str "S3 region name.";
      accessKey = required fedi.types.secretName "The secret that holds the access key's id.";
      secretKey = required fedi.types.secretName "The secret that holds the access key's secret half.";
      publicBase = nullOr fedi.types.httpUrl ''
        URL that the public reads the objects at. It must be a name that the deployment
        owns.
      '';
      rebuildable = listOf types.str "Prefixes that the application can fetch or make again.";
      website = mkOption {
        type = types.bool;
        default = false;
        description = "Whether the bucket serves a web site (Garage's website access).";
      };
    };

    directory = {
      path = required fedi.types.runtimePath "Absolute path; a symbolic link at its end is followed.";
      owner = required types.str "Owner of the folder itself.";
      group = nullOr types.str "Group of the folder itself.";
      exclude = listOf types.str "Patterns, relative to `path`, that are left out.";
      atLeastFiles = floor "files";
      atLeastBytes = floor "bytes";
    };

    derived = {
      paths = listOf fedi.types.runtimePath "Where it lies.";
      rebuild = nullOr fedi.types.unit "The unit that makes it, or null where the application does so by itself.";
    };
  };

  describe = {
    postgres = "A PostgreSQL database.";
    mysql = "A MariaDB or MySQL database.";
    redis = "A Redis instance.";
    bucket = "An S3 bucket.";
    directory = "A folder of files.";
    derived = "Something that is made again from the rest.";
  };
in
types.attrTag (
  lib.mapAttrs (
    kind: options:
    mkOption {
      type = types.submodule { inherit options; };
      description = describe.${kind};
    }
  ) kinds
)
