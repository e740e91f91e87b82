# The traps that nixpkgs' module or upstream sets for Matrix, one test each, named for
# the trap.
{
  lib,
  eval,
  systems,
  ...
}:
let
  # The copy, with something that lets it reach others.
  but =
    settings:
    eval.evalConfig [
      systems.matrix-copy
      settings
    ];
  hooks = config: lib.attrNames config.fedi.manifest.apps.matrix.hooks;
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
  "matrix: a copy is made one by a unit, and only where it cannot pass for the first" = {
    expr = {
      copy = hooks config.matrix-copy;
      first = hooks config.matrix-bucket;
      plain = hooks config.matrix-local;
      unit = config.matrix-local.systemd.services ? fedi-matrix-rehome;
    }
    // lib.mapAttrs (_: settings: hooks (but settings)) {
      federates.fedi.apps.matrix.federation.enable = lib.mkForce true;
      delegates.fedi.apps.matrix.wellKnown = lib.mkForce "guest";
      isThere.fedi.apps.matrix.serverName = lib.mkForce "matrix.example.test";
      mails.fedi.apps.matrix.smtp.host = "smtp.example.org";
      bridges.services.matrix-synapse.settings.app_service_config_files = [ "/etc/bridge.yaml" ];
    };
    expected = {
      copy = [
        "probe"
        "rehome"
      ];
      first = [ "probe" ];
      plain = [ "probe" ];
      unit = false;
      federates = [ "probe" ];
      delegates = [ "probe" ];
      isThere = [ "probe" ];
      mails = [ "probe" ];
      bridges = [ "probe" ];
    };
  };
  "matrix: a copy says of itself what the first says of it" = {
    expr = config.matrix-copy.fedi.manifest.apps.matrix.fence;
    expected = config.matrix-bucket.fedi.manifest.apps.matrix.fence;
  };
  "matrix: a copy has neither the routes nor the names of federation" = {
    expr = {
      inherit (config.matrix-copy.services.matrix-synapse.settings)
        server_name
        federation_domain_whitelist
        ;
      resources = lib.concatMap (
        listener: lib.concatMap (resource: resource.names) listener.resources
      ) config.matrix-copy.services.matrix-synapse.settings.listeners;
      hosts = lib.attrNames config.matrix-copy.services.nginx.virtualHosts;
      wellKnown = lib.filter (lib.hasInfix "well-known") (
        lib.attrNames (host "matrix-copy" "matrix.example.test").locations
      );
      records = map (record: record.name) config.matrix-copy.fedi.manifest.apps.matrix.records;
      endpoints = map (endpoint: endpoint.name) config.matrix-copy.fedi.manifest.apps.matrix.endpoints;
    };
    expected = {
      server_name = "example.test";
      federation_domain_whitelist = [ ];
      resources = [ "client" ];
      hosts = [ "matrix.example.test" ];
      wellKnown = [ ];
      records = [ "matrix.example.test" ];
      endpoints = [ "client API" ];
    };
  };
  "matrix: what makes a copy runs as Synapse's user, against its database, and not on a server in use" =
    let
      text = script "matrix-copy" "fedi-matrix-rehome";
    in
    {
      expr = {
        user = config.matrix-copy.systemd.services.fedi-matrix-rehome.serviceConfig.User;
        database = lib.hasInfix "--dbname matrix-synapse" text;
        name = lib.hasInfix "server_name=example.test" text;
        refused = lib.hasInfix "[ -e /run/fedi/lease/matrix ]" text;
        certificates = lib.any (lib.hasSuffix "find /var/lib/acme -mindepth 1 -not -type d -delete") (
          config.matrix-copy.systemd.services.fedi-matrix-rehome.serviceConfig.ExecStartPost
        );
        gated = lib.elem "fedi-matrix-rehome.service" config.matrix-copy.fedi.contracts.state.matrix.units;
      };
      expected = {
        user = "matrix-synapse";
        database = true;
        name = true;
        refused = true;
        certificates = true;
        gated = false;
      };
    };
}
