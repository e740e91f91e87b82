# The curated interface of Garage: `fedi.apps.garage.*`, and `[settings]` in a
# deployment's TOML file. Everything else stays reachable through
# `services.garage.settings`.
{ lib, fedi }:
let
  inherit (lib) types;
  option = name: arguments: fedi.options.option ({ id = "garage.${name}"; } // arguments);
  bucketName = types.strMatching "[a-z0-9][a-z0-9-]{1,61}[a-z0-9]";
in
{
  enable = fedi.options.enable "garage" "Garage, an object store with the S3 API";
  domain = fedi.options.domain "garage" ''
    The S3 API is at `s3.<domain>` (and `<bucket>.s3.<domain>`), published buckets are at
    `<bucket>.web.<domain>`.
  '';

  buckets = option "buckets" {
    title = "Buckets";
    group = "Buckets";
    widget = "map";
    default = { };
    example = {
      mastodon-media = {
        keys = [ "mastodon" ];
        website = true;
      };
    };
    description = ''
      The buckets, by name. Each is made once, and carried object by object when the
      deployment moves. A bucket that is made by hand is in no backup.
    '';
    type = types.addCheck (types.attrsOf (
      types.submodule {
        options = {
          keys = option "buckets.keys" {
            title = "Access keys";
            group = "Buckets";
            widget = "list";
            type = types.nonEmptyListOf fedi.types.secretName;
            description = ''
              Names of the access keys that may read and write. fedi makes each key
              (secrets `key-<name>-id` and `key-<name>-secret`); the first one's belongs to
              the bucket's owner.
            '';
          };
          website = option "buckets.website" {
            title = "Publish";
            group = "Buckets";
            type = types.bool;
            default = false;
            description = "Whether everybody may read the objects, at `<bucket>.web.<domain>`.";
          };
          aliases = option "buckets.aliases" {
            title = "More public names";
            group = "Buckets";
            level = "advanced";
            widget = "list";
            type = types.listOf fedi.types.domain;
            default = [ ];
            description = "Names of the deployment that publish the bucket as well.";
          };
          quotaGib = option "buckets.quotaGib" {
            title = "Most space (GiB)";
            group = "Buckets";
            level = "advanced";
            type = types.nullOr types.ints.positive;
            default = null;
            description = "Most that the bucket can hold, in GiB; null for no limit.";
          };
        };
      }
    )) (buckets: lib.all bucketName.check (lib.attrNames buckets));
  };
  capacityGib = option "capacityGib" {
    title = "Capacity (GiB)";
    group = "Storage";
    type = types.ints.positive;
    default = 90;
    description = "How much of the state disk objects may take, in GiB.";
  };
  zone = option "zone" {
    title = "Zone";
    group = "Storage";
    level = "advanced";
    type = types.strMatching "[a-z0-9][a-z0-9-]*";
    default = "zone1";
    description = "Name of the place, for the layout of a cluster.";
  };
  databaseEngine = option "databaseEngine" {
    title = "Metadata database";
    group = "Storage";
    level = "advanced";
    restart = "immutable";
    type = types.enum [
      "sqlite"
      "lmdb"
    ];
    default = "sqlite";
    description = ''
      `sqlite` survives a power cut and can be moved to another kind of processor; `lmdb`
      is faster with very many objects.
    '';
  };
  compression = option "compression" {
    title = "Compression level";
    group = "Storage";
    level = "advanced";
    type = types.ints.between 0 19;
    default = 1;
    description = "Zstandard level of the stored blocks; 0 stores them as they are.";
  };
  blockSize = option "blockSize" {
    title = "Block size";
    group = "Storage";
    level = "advanced";
    type = types.strMatching "[0-9]+(K|M)i?B?";
    default = "1M";
    description = "Size of the blocks that objects are cut into.";
  };
  snapshotInterval = option "snapshotInterval" {
    title = "Metadata snapshots";
    group = "Storage";
    level = "advanced";
    type = types.strMatching "[0-9]+(min|h|d)";
    default = "6h";
    description = "How often Garage copies its metadata, to come back from a damaged database.";
  };
  maxUploadSize = option "maxUploadSize" {
    title = "Largest request";
    group = "S3";
    level = "advanced";
    restart = "reload";
    type = fedi.types.size;
    default = "5G";
    description = "Largest body that nginx lets through; clients cut larger objects into parts.";
  };
  region = option "region" {
    title = "S3 region";
    group = "S3";
    level = "advanced";
    restart = "immutable";
    type = types.str;
    default = "garage";
    description = "Name of the region that clients have to give.";
  };
  anonymousMetrics = option "anonymousMetrics" {
    title = "Metrics for Prometheus";
    group = "S3";
    level = "advanced";
    type = types.bool;
    default = false;
    description = "Whether `/metrics` on the loopback address answers without a token.";
  };
  carry = option "carry" {
    title = "How it is moved";
    group = "Storage";
    level = "advanced";
    type = types.enum [
      "buckets"
      "directories"
    ];
    default = "buckets";
    description = ''
      `buckets` copies declared buckets through the S3 API: to another version, another
      processor or another provider. `directories` copies Garage's own files: everything,
      but only to the same major version (and, with `lmdb`, the same kind of processor).
    '';
  };
  logLevel = option "logLevel" {
    title = "Log level";
    group = "S3";
    level = "advanced";
    type = types.enum [
      "error"
      "warn"
      "info"
      "debug"
    ];
    default = "info";
    description = "How much Garage writes to the journal.";
  };
}
