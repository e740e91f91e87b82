# The traps that nixpkgs' module or upstream sets for Mastodon, one test each, named for
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
    needs
    dark
    secret
    item
    host
    everything
    oldChecksums
    ;
in
{
  "mastodon: the database is not seeded at the first boot" = yes (
    dark "mastodon-local" "mastodon-init-db.service"
    && lib.elem "mastodon-init-db.service" (eval.leased config.mastodon-local)
  );
  "mastodon: none of the six secrets is where nixpkgs would make it" =
    let
      inherit (config.mastodon-local.services) mastodon;
      files = [
        mastodon.vapidPublicKeyFile
        mastodon.vapidPrivateKeyFile
        mastodon.secretKeyBaseFile
        mastodon.activeRecordEncryptionPrimaryKeyFile
        mastodon.activeRecordEncryptionDeterministicKeyFile
        mastodon.activeRecordEncryptionKeyDerivationSaltFile
      ];
    in
    yes (lib.length (lib.unique files) == 6 && !lib.any (lib.hasPrefix "/var/lib/mastodon") files);
  "mastodon: nothing starts while one of the six is missing" = yes (
    lib.all
      (name: lib.hasInfix "secrets/mastodon/${name} ]" (script "mastodon-local" "fedi-mastodon-lease"))
      [
        "vapid"
        "secret-key-base"
        "are-primary-key"
        "are-deterministic-key"
        "are-key-derivation-salt"
      ]
    && needs "mastodon-local" "mastodon-init-dirs" "fedi-mastodon-lease.service"
    && needs "mastodon-local" "mastodon-init-dirs" "fedi-mastodon-secrets.service"
  );
  "mastodon: its user can read what init-dirs reads" = yes (
    lib.all (it: it.owner == "mastodon") (
      lib.attrValues (
        lib.getAttrs [
          "are-primary-key"
          "are-deterministic-key"
          "are-key-derivation-salt"
          "secret-key-base"
          "smtp-password"
        ] (secret "mastodon-bucket" "mastodon")
      )
    )
  );
  "mastodon: encryption keys are identity and protect the database" = {
    expr = lib.filter (
      name:
      let
        it = (secret "mastodon-local" "mastodon").${name};
      in
      it.class == "identity" && it.protects == [ "db" ]
    ) (lib.attrNames (secret "mastodon-local" "mastodon"));
    expected = [
      "are-deterministic-key"
      "are-key-derivation-salt"
      "are-primary-key"
    ];
  };
  "mastodon: with WEB_DOMAIN the site has a virtual host of its own" = {
    expr = {
      site = (host "mastodon-bucket" "mastodon.example.test").locations ? "@proxy";
      inherit (config.mastodon-bucket.services.mastodon.extraConfig) WEB_DOMAIN;
      local = config.mastodon-bucket.services.mastodon.localDomain;
    };
    expected = {
      site = true;
      WEB_DOMAIN = "mastodon.example.test";
      local = "example.test";
    };
  };
  "mastodon: webfinger is redirected from the domain of the handles, for every origin" = {
    expr =
      let
        location = (host "mastodon-bucket" "example.test").locations."^~ /.well-known/";
      in
      {
        inherit (location) return;
        cors = lib.hasInfix "Access-Control-Allow-Origin *" location.extraConfig;
        rest = lib.attrNames (host "mastodon-bucket" "example.test").locations;
      };
    expected = {
      return = "301 https://mastodon.example.test$request_uri";
      cors = true;
      rest = [
        "/"
        "^~ /.well-known/"
      ];
    };
  };
  "mastodon: no access control lists for Garage" = {
    expr = config.mastodon-bucket.services.mastodon.extraConfig.S3_PERMISSION;
    expected = "";
  };
  "mastodon: no checksums of the newer kind" = {
    expr = map (lib.filterAttrs (name: _: lib.hasInfix "CHECKSUM" name)) [
      config.mastodon-bucket.services.mastodon.extraConfig
      config.mastodon-local.services.mastodon.extraConfig
    ];
    expected = [
      oldChecksums
      { }
    ];
  };
  "mastodon: media keep their address when the bucket moves" = {
    expr = {
      alias = config.mastodon-bucket.services.mastodon.extraConfig.S3_ALIAS_HOST;
      inherit ((item "mastodon-bucket" "mastodon").media.bucket) publicBase;
      proxied =
        lib.hasInfix "mastodon-media.web.garage.example.test"
          (host "mastodon-bucket" "media.mastodon.example.test").locations."/".extraConfig;
      cors =
        lib.hasInfix "Access-Control-Allow-Origin *"
          (host "mastodon-bucket" "media.mastodon.example.test").locations."/".extraConfig;
    };
    expected = {
      alias = "media.mastodon.example.test";
      publicBase = "https://media.mastodon.example.test";
      proxied = true;
      cors = true;
    };
  };
  "mastodon: bucket keys are in no environment" = yes (
    !lib.hasInfix "AWS_SECRET_ACCESS_KEY" (everything "mastodon-bucket")
  );
  "mastodon: other servers' media are not carried" = {
    expr = {
      inherit ((item "mastodon-local" "mastodon").media.directory) exclude;
      inherit ((item "mastodon-bucket" "mastodon").media.bucket) rebuildable;
    };
    expected = {
      exclude = [ "cache" ];
      rebuildable = [ "cache/" ];
    };
  };
  "mastodon: Redis is carried, because it holds deliveries" = {
    expr = (item "mastodon-local" "mastodon").queue.redis.holds;
    expected = "mixed";
  };
  "mastodon: a password never comes from tootctl's output" = yes (
    lib.hasInfix "> /dev/null" (script "mastodon-local" "fedi-mastodon-admin")
  );
  "mastodon: one process has the scheduler" = {
    expr = lib.attrNames config.mastodon-local.services.mastodon.sidekiqProcesses;
    expected = [ "all" ];
  };
  "mastodon: every Sidekiq and streaming process that is added is gated" =
    let
      large = eval.evalConfig [
        systems.mastodon-local
        {
          fedi.apps.mastodon.streamingProcesses = 3;
          services.mastodon.sidekiqProcesses = {
            all = {
              jobClasses = [ ];
              threads = null;
            };
            push = {
              jobClasses = [ "push" ];
              threads = 10;
            };
          };
        }
      ];
    in
    {
      expr = {
        failed = eval.failed large;
        dormant = eval.gatedAmong large (eval.dormant large);
        listed = lib.filter (unit: lib.elem unit large.fedi.manifest.apps.mastodon.units) [
          "mastodon-streaming-3.service"
          "mastodon-sidekiq-push.service"
        ];
      };
      expected = {
        failed = [ ];
        dormant = [ ];
        listed = [
          "mastodon-streaming-3.service"
          "mastodon-sidekiq-push.service"
        ];
      };
    };
}
