# The traps that nixpkgs' module or upstream sets for Pixelfed, one test each, named for
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
    service
    needs
    dark
    secret
    item
    ;
in
{
  "pixelfed: the scheduler runs each minute" = {
    expr = {
      inherit (config.pixelfed-mysql-local.systemd.timers.pixelfed-cron.timerConfig)
        OnUnitActiveSec
        AccuracySec
        ;
    };
    expected = {
      OnUnitActiveSec = "1min";
      AccuracySec = "1s";
    };
  };
  "pixelfed: on PostgreSQL the user owns its database" = yes (
    lib.any (
      user: user.name == "pixelfed" && user.ensureDBOwnership
    ) config.pixelfed-postgres-local.services.postgresql.ensureUsers
  );
  "pixelfed: nginx can read uploads" = {
    expr = {
      masks = map (unit: (service "pixelfed-mysql-local" unit).UMask) [
        "phpfpm-pixelfed"
        "pixelfed-horizon"
        "pixelfed-cron"
      ];
      group = lib.elem "pixelfed" config.pixelfed-mysql-local.users.users.nginx.extraGroups;
    };
    expected = {
      masks = [
        "0027"
        "0027"
        "0027"
      ];
      group = true;
    };
  };
  "pixelfed: passport keys are delivered, and never generated" = {
    expr = {
      before = needs "pixelfed-mysql-local" "pixelfed-data-setup" "fedi-pixelfed-keys.service";
      marker = lib.hasInfix "touch /var/lib/pixelfed/.passport-keys-generated" (
        script "pixelfed-mysql-local" "fedi-pixelfed-keys"
      );
      inherit ((secret "pixelfed-mysql-local" "pixelfed").oauth-private-key) class;
    };
    expected = {
      before = true;
      marker = true;
      class = "identity";
    };
  };
  "pixelfed: marker files travel, generated secrets do not" =
    let
      inherit ((item "pixelfed-mysql-local" "pixelfed").files) directory;
    in
    yes (
      directory.path == "/var/lib/pixelfed"
      && lib.elem ".env" directory.exclude
      && lib.elem "storage/oauth-private.key" directory.exclude
      && !lib.elem ".instance-actor-created" directory.exclude
    );
  "pixelfed: APP_KEY is identity and Laravel's kind" = {
    expr = {
      inherit ((secret "pixelfed-mysql-local" "pixelfed").app-key) class generator;
    };
    expected = {
      class = "identity";
      generator = "laravelKey";
    };
  };
  "pixelfed: MariaDB has the collation of the schema" = {
    expr = config.pixelfed-mysql-local.services.mysql.settings.mysqld.collation-server;
    expected = "utf8mb4_unicode_ci";
  };
  "pixelfed: nobody in front of nginx says who the client is" = {
    expr = config.pixelfed-mysql-local.services.pixelfed.settings.TRUST_PROXIES;
    expected = "127.0.0.1";
  };
  "pixelfed: PHP has ffi, as the package was built with" = {
    expr = config.pixelfed-mysql-local.services.pixelfed.phpPackage.extensions;
    expected = [
      "curl"
      "ffi"
    ];
  };
  "pixelfed: set-up waits for Redis" = yes (
    needs "pixelfed-mysql-local" "pixelfed-data-setup" "redis-pixelfed.service"
  );
  "pixelfed: PHP, nginx and Pixelfed agree on the largest upload" = {
    expr = {
      inherit (config.pixelfed-mysql-local.services.pixelfed) maxUploadSize;
      inherit (config.pixelfed-mysql-local.services.pixelfed.settings) MAX_PHOTO_SIZE;
    };
    expected = {
      maxUploadSize = "50M";
      MAX_PHOTO_SIZE = 51200;
    };
  };
  "pixelfed: media keep their address when the bucket moves" = {
    expr = config.pixelfed-mysql-bucket.services.pixelfed.settings.AWS_URL;
    expected = "https://media.pixelfed.example.test";
  };
  "pixelfed: the administrator's password is no argument" = yes (
    !lib.hasInfix "--password" (script "pixelfed-mysql-local" "fedi-pixelfed-admin")
  );
  "pixelfed: PHP's processes are gated, phpfpm.target is not a way around" = yes (
    dark "pixelfed-mysql-local" "phpfpm-pixelfed.service"
  );
}
