# The coverage lint and what else the contracts refuse.
{
  lib,
  eval,
  systems,
  ...
}:
let
  flat = lib.replaceStrings [ "\n" ] [ " " ];
  says = pattern: lib.any (message: builtins.match ".*${pattern}.*" (flat message) != null);
  refuses = system: pattern: extra: {
    expr = says pattern (
      eval.failed (
        eval.evalConfig [
          systems.${system}
          extra
        ]
      )
    );
    expected = true;
  };
  accepts = system: extra: {
    expr = eval.failed (
      eval.evalConfig [
        systems.${system}
        extra
      ]
    );
    expected = [ ];
  };
  matrix = refuses "matrix-local";
  state.fedi.contracts.state = { };
in
lib.mapAttrs' (
  name: module:
  lib.nameValuePair "every example is covered whole (${name})" {
    expr = eval.failed (eval.evalConfig module);
    expected = [ ];
  }
) systems
// {
  "unclaimed state directory" = matrix "claims /var/lib/bridge: it would be in no backup" {
    systemd.services.bridge.serviceConfig.StateDirectory = "bridge";
  };
  "unclaimed state directory among several words" = matrix "claims /var/lib/two:" {
    systemd.services.bridge.serviceConfig.StateDirectory = "acme/x two";
  };
  "unclaimed folder of tmpfiles" = matrix "claims /var/lib/uploads:" {
    systemd.tmpfiles.rules = [ "d '/var/lib/uploads' 0750 root root - -" ];
  };
  "unclaimed home of a user" = matrix "claims /var/lib/bot:" {
    users.users.bot = {
      home = "/var/lib/bot";
      createHome = true;
    };
  };
  "unclaimed database" = matrix "claims postgres:bridge" {
    services.postgresql.ensureDatabases = [ "bridge" ];
  };
  "unclaimed database of fedi's own making" = matrix "claims postgres:bridge" {
    fedi.contracts.database.bridge = { };
  };
  "unclaimed MariaDB database" = refuses "pixelfed-mysql-local" "claims mysql:stats" {
    services.mysql.ensureDatabases = [ "stats" ];
  };
  "unclaimed Redis" = matrix "claims redis:bridge" {
    services.redis.servers.bridge.enable = true;
  };
  "unclaimed bucket" = matrix "claims bucket:attachments" {
    fedi.contracts.buckets = [ "attachments" ];
  };
  "a secret of no application" = matrix "declares token for an application that has no" {
    fedi.contracts.secret.bridge.token = {
      class = "identity";
      generator.hex.bytes = 32;
    };
  };
  "a unit that reads a secret nobody declares" =
    matrix "does not declare: /var/lib/fedi/secrets/matrix/other"
      {
        systemd.services.fedi-extra.serviceConfig.LoadCredential = "x:/var/lib/fedi/secrets/matrix/other";
      };
  "left out with a reason" = accepts "matrix-local" {
    systemd.services.bridge.serviceConfig.StateDirectory = "bridge";
    fedi.contracts.ignore."directory:/var/lib/bridge" = "Fetched again at every start.";
  };
  "left out without a reason" = matrix "needs a reason" {
    systemd.services.bridge.serviceConfig.StateDirectory = "bridge";
    fedi.contracts.ignore."directory:/var/lib/bridge" = "";
  };
  "claimed twice" = matrix "more than once: postgres:matrix-synapse by matrix.again, matrix.db" {
    fedi.contracts.state.matrix = {
      items.again.postgres = {
        database = "matrix-synapse";
        owner = "x";
        major = 17;
      };
      order = [ "again" ];
    };
  };
  "claimed twice, one folder below the other" =
    matrix
      "directory:/var/lib/matrix-synapse/media_store/local_content by matrix.media and matrix.uploads"
      {
        fedi.contracts.state.matrix = {
          items.uploads.directory = {
            path = "/var/lib/matrix-synapse/media_store/local_content";
            owner = "matrix-synapse";
          };
          order = [ "uploads" ];
        };
      };
  "one folder below another that leaves it out" = accepts "matrix-local" {
    fedi.contracts.state.matrix = {
      items.previews.directory = {
        path = "/var/lib/matrix-synapse/media_store/url_cache";
        owner = "matrix-synapse";
      };
      order = [ "previews" ];
    };
  };
  "an item that claims what is not there" = matrix "matrix.old \\(redis old\\)" {
    fedi.contracts.state.matrix = {
      items.old.redis = {
        instance = "old";
        holds = "cache";
      };
      order = [ "old" ];
    };
  };
  "an order that misses an item" = matrix "order misses extra" {
    fedi.contracts.state.matrix.items.extra.derived = { };
  };
  "an order that names what is no item" = matrix "order names ghost, which is no item" {
    fedi.contracts.state.matrix.order = [ "ghost" ];
  };
  "an order that names one twice" = matrix "order names db more than once" {
    fedi.contracts.state.matrix.order = [ "db" ];
  };
  "a hook that does not exist" = matrix "has fedi-matrix-ghost.service started at given moments" {
    fedi.contracts.state.matrix.hooks.drain.unit = "fedi-matrix-ghost.service";
  };
  "a hook that never ends" = matrix "has matrix-synapse.service started at given moments" {
    fedi.contracts.state.matrix.hooks.upgrade.unit = "matrix-synapse.service";
  };
  "a hook that starts at boot as well" =
    matrix "has fedi-matrix-probe.service started at given moments"
      {
        systemd.services.fedi-matrix-probe.wantedBy = [ "multi-user.target" ];
      };
  "a secret that protects an unknown item" = matrix "protects names attic" {
    fedi.contracts.secret.matrix.password-pepper.protects = [ "attic" ];
  };
  "a carried provider secret" = matrix "is a provider secret and protects an item" {
    fedi.contracts.secret.matrix.relay = {
      class = "provider";
      generator.operator.describe = "x";
      protects = [ "db" ];
    };
  };
  "a provider secret that fedi would make" = matrix "only the operator can set it" {
    fedi.contracts.secret.matrix.relay = {
      class = "provider";
      generator.hex.bytes = 8;
    };
  };
  "an optional identity secret" = matrix "identity secret and optional at once" {
    fedi.contracts.secret.matrix.other = {
      class = "identity";
      generator.operator = {
        describe = "x";
        optional = true;
      };
    };
  };
  "a public half of nothing" = matrix "public half of a secret that is no RSA private key" {
    fedi.contracts.secret.matrix.public = {
      class = "identity";
      generator.rsaPublicKey.of = "signing-key";
    };
  };
  "a secret that everybody can read" = matrix "lets everybody read it" {
    fedi.contracts.secret.matrix.signing-key.mode = lib.mkForce "0444";
  };
  "two secrets in one file" = matrix "have the same path" {
    fedi.contracts.secret.matrix.form-secret.path =
      lib.mkForce "/var/lib/fedi/secrets/matrix/signing-key";
  };
  "a rendered file with an unknown secret" = matrix "names the secret ghost" {
    fedi.contracts.render.matrix.extra = {
      format = "env";
      content.X.secret = "ghost";
    };
  };
  "a media address outside the domain" =
    refuses "mastodon-bucket" "public media address https://cdn.provider.example is not a name"
      {
        fedi.apps.mastodon.media.publicHost = "cdn.provider.example";
      };
  "a media address that only looks alike" =
    refuses "mastodon-bucket" "public media address https://evilexample.test is not a name"
      {
        fedi.apps.mastodon.media.publicHost = "evilexample.test";
      };
  "a media address on another domain that the deployment owns" = accepts "mastodon-bucket" {
    fedi.apps.mastodon.media.publicHost = "media.example.net";
    fedi.deployment.domains = [ "example.net" ];
  };
  "an endpoint on somebody else's name" = matrix "endpoints: https://other.example is not on a name" {
    fedi.contracts.state.matrix.endpoints = [
      {
        name = "x";
        url = "https://other.example";
      }
    ];
  };
  "a downgrade" =
    refuses "mastodon-local"
      "has mastodon 4.6.7; its state was last used by 4.7.0. A schema cannot go back"
      {
        fedi.deployment.ranVersion.mastodon = "4.7.0";
      };
  "too large an upgrade" =
    refuses "mastodon-local" "takes over state from 4.4.0 on; the state is of 4.1.2"
      {
        fedi.deployment.ranVersion.mastodon = "4.1.2";
      };
  "the same version" = accepts "mastodon-local" {
    fedi.deployment.ranVersion.mastodon = "4.6.7";
  };
  "a bucket without an endpoint" = refuses "matrix-local" "set fedi.apps.matrix.media.endpoint" {
    fedi.apps.matrix.media.store = "bucket";
    fedi.contracts.state.matrix.items.bucket.bucket.endpoint = lib.mkForce "https://x.example";
  };
  "no mail address for the certificate authority" = matrix "authority wants a mail address" {
    fedi.deployment.adminEmail = lib.mkForce null;
  };
  "open registration without mail" = matrix "needs a mail relay" {
    fedi.apps.matrix.registration = "open";
  };
  "a removed option of nixpkgs" = refuses "mastodon-local" "otpSecretFile" {
    services.mastodon.otpSecretFile = "/x";
  };
  "a guest without an application is fine" = {
    expr = eval.failed (eval.evalConfig [ state ]);
    expected = [ ];
  };
  "a switch to an older version is refused on the guest as well" = {
    expr = lib.hasInfix "a schema cannot go back" (eval.evalConfig systems.mastodon-local)
    .system.preSwitchChecks.fedi-mastodon-downgrade;
    expected = true;
  };
}
