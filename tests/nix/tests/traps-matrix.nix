# The traps that nixpkgs' module or upstream sets for Matrix, one test each, named for
# the trap.
{
  lib,
  eval,
  systems,
  ...
}:
let
  inherit (import ../looks.nix { inherit lib eval systems; })
    config
    yes
    script
    secret
    item
    host
    oldChecksums
    ;
in
{
  "matrix: the database has collation C" = {
    expr = {
      inherit ((item "matrix-local" "matrix").db.postgres) locale;
      made = lib.hasInfix "LC_COLLATE 'C' LC_CTYPE 'C'" (
        script "matrix-local" "fedi-database-matrix-synapse"
      );
      template = lib.hasInfix "TEMPLATE template0" (script "matrix-local" "fedi-database-matrix-synapse");
      nixpkgs = config.matrix-local.services.postgresql.ensureDatabases;
    };
    expected = {
      locale = "C";
      made = true;
      template = true;
      nixpkgs = [ ];
    };
  };
  "matrix: the signing key is delivered, never generated" = {
    expr = {
      path = config.matrix-local.services.matrix-synapse.settings.signing_key_path;
      inherit ((secret "matrix-local" "matrix").signing-key) class mode owner;
      checked = lib.hasInfix "secrets/matrix/signing-key ]" (script "matrix-local" "fedi-matrix-lease");
    };
    expected = {
      path = "/var/lib/fedi/secrets/matrix/signing-key";
      class = "identity";
      # What nixpkgs' unit sets it to at every start.
      mode = "0600";
      owner = "matrix-synapse";
      checked = true;
    };
  };
  "matrix: no secret is in the settings, which everybody can read" = {
    expr = lib.intersectLists (lib.attrNames config.matrix-bucket.services.matrix-synapse.settings) [
      "registration_shared_secret"
      "macaroon_secret_key"
      "form_secret"
      "turn_shared_secret"
      "media_storage_providers"
      "password_config"
    ];
    expected = [ ];
  };
  "matrix: one-time keys are not handed out twice after a restore" = {
    expr = (item "matrix-local" "matrix").db.postgres.skipRows;
    expected = [ "e2e_one_time_keys_json" ];
  };
  "matrix: the server name is the deployment's, not the host's" = {
    expr = config.matrix-bucket.services.matrix-synapse.settings.server_name;
    expected = "example.test";
  };
  "matrix: delegation is answered where other servers ask" = {
    expr = (host "matrix-bucket" "example.test").locations."= /.well-known/matrix/server".return;
    expected = "200 '{\"m.server\":\"matrix.example.test:443\"}'";
  };
  # The S3 provider 1.7.0 asks for it itself; an older one leaves it to boto3.
  "matrix: no checksums of the newer kind, in any worker" =
    let
      workers = eval.evalConfig [
        systems.matrix-bucket
        { services.matrix-synapse.workers.media = { }; }
      ];
    in
    {
      expr = map (unit: workers.systemd.services.${unit}.environment) [
        "matrix-synapse"
        "matrix-synapse-worker-media"
      ];
      expected = lib.replicate 2 oldChecksums;
    };
  "matrix: the local media store is carried even with a bucket" = yes (
    (item "matrix-bucket" "matrix") ? media && (item "matrix-bucket" "matrix") ? bucket
  );
}
