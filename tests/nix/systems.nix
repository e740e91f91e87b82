# The systems that are evaluated: every application with every way of keeping its state.
# Names become snapshot files.
{ lib }:
let
  deployment = app: {
    fedi.deployment = {
      name = app;
      domain = "${app}.example.test";
      adminEmail = "operator@example.test";
      authorizedKeys = [ "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFakeKeyForTestsOnly operator" ];
    };
    fedi.apps.${app} = {
      enable = true;
      domain = "${app}.example.test";
    };
  };
  with' = app: settings: {
    imports = [ (deployment app) ];
    fedi.apps.${app} = settings;
  };
  bucket = app: {
    media = {
      store = "bucket";
      endpoint = "https://s3.garage.example.test";
    }
    // lib.optionalAttrs (app != "matrix") {
      webEndpoint = "https://${app}-media.web.garage.example.test";
    };
  };
  smtp = {
    smtp = {
      host = "smtp.example.org";
      user = "relay";
    };
  };
in
{
  matrix-local = deployment "matrix";
  matrix-bucket = with' "matrix" (
    bucket "matrix"
    // smtp
    // {
      serverName = "example.test";
      turn.uris = [ "turns:turn.example.test?transport=tcp" ];
    }
  );
  # A copy of matrix-bucket, fenced in.
  matrix-copy = with' "matrix" {
    serverName = "example.test";
    wellKnown = "elsewhere";
    federation.enable = false;
  };
  mastodon-local = deployment "mastodon";
  mastodon-bucket = with' "mastodon" (
    bucket "mastodon" // smtp // { handleDomain = "example.test"; }
  );
  peertube-local = deployment "peertube";
  peertube-bucket = with' "peertube" (
    bucket "peertube"
    // smtp
    // {
      live.enable = true;
      webConfiguration = true;
    }
  );
  pixelfed-mysql-local = deployment "pixelfed";
  pixelfed-mysql-bucket = with' "pixelfed" (bucket "pixelfed" // smtp);
  pixelfed-postgres-local = with' "pixelfed" { database = "pgsql"; };
  pixelfed-postgres-bucket = with' "pixelfed" (bucket "pixelfed" // { database = "pgsql"; });
  garage-buckets = with' "garage" {
    buckets = {
      mastodon-media = {
        keys = [ "mastodon" ];
        website = true;
      };
      peertube-media = {
        keys = [
          "peertube"
          "backup"
        ];
        website = true;
        aliases = [ "videos.garage.example.test" ];
        quotaGib = 500;
      };
      restic.keys = [ "backup" ];
    };
  };
  garage-directories = with' "garage" {
    carry = "directories";
    databaseEngine = "lmdb";
    buckets.restic.keys = [ "backup" ];
  };
}
