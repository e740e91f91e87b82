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
    oldChecksums
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
  # `.env` takes no unquoted space, so the list must not have one (what nixpkgs' module leaves
  # open): a name is quoted, this value cannot be and still be read by an older package.
  "pixelfed: the list of trusted proxies is one word" = yes (
    builtins.match "[^[:space:]]+" config.pixelfed-mysql-local.services.pixelfed.settings.TRUST_PROXIES
    != null
  );
  "pixelfed: a name of several words does not break .env" =
    let
      named = eval.evalConfig [
        systems.pixelfed-mysql-bucket
        {
          fedi.apps.pixelfed = {
            name = ''Cats "& dogs" for $5'';
            description = "Pictures of both";
          };
        }
      ];
    in
    {
      expr = {
        inherit (named.services.pixelfed.settings) APP_NAME INSTANCE_DESCRIPTION MAIL_FROM_NAME;
      };
      expected = {
        APP_NAME = ''"Cats \"& dogs\" for \$5"'';
        INSTANCE_DESCRIPTION = ''"Pictures of both"'';
        MAIL_FROM_NAME = ''"Cats \"& dogs\" for \$5"'';
      };
    };
  "pixelfed: no other setting has a space, which .env would not take" = {
    expr = lib.concatMap (
      system:
      lib.attrNames (
        lib.filterAttrs (
          _: value: lib.isString value && lib.hasInfix " " value && builtins.match "\".*\"" value == null
        ) config.${system}.services.pixelfed.settings
      )
    ) (lib.filter (lib.hasPrefix "pixelfed-") (lib.attrNames systems));
    expected = [ ];
  };
  "pixelfed: a queue worker that fails does not take the site with it" = {
    expr =
      map
        (
          system:
          let
            unit = config.${system}.systemd.services.phpfpm-pixelfed;
          in
          {
            requires = lib.elem "pixelfed-horizon.service" unit.requires;
            wants = lib.elem "pixelfed-horizon.service" unit.wants;
            rest = lib.sort lib.lessThan unit.requires;
            tries = (service system "pixelfed-horizon").RestartSec;
          }
        )
        [
          "pixelfed-mysql-local"
          "pixelfed-postgres-local"
        ];
    expected =
      map
        (database: {
          requires = false;
          wants = true;
          rest = lib.sort lib.lessThan [
            "fedi-pixelfed-lease.service"
            "pixelfed-data-setup.service"
            "redis-pixelfed.service"
            database
          ];
          tries = "5s";
        })
        [
          "mysql.service"
          "postgresql.target"
        ];
  };
  # What it does, and leaves, in a real Redis: scripts_check.py.
  "pixelfed: after a restore the cache is cleared, and nothing but the cache" =
    let
      clear = script "pixelfed-mysql-local" "fedi-pixelfed-cache";
    in
    {
      expr = {
        item = (item "pixelfed-mysql-local" "pixelfed").cache;
        last = lib.last config.pixelfed-mysql-local.fedi.manifest.apps.pixelfed.order;
        upstream = lib.hasInfix "cache:clear" clear || lib.hasInfix "flush" (lib.toLower clear);
        prefix = lib.hasInfix "*${config.pixelfed-mysql-local.services.pixelfed.settings.CACHE_PREFIX}*" clear;
        running = config.pixelfed-mysql-local.systemd.services.fedi-pixelfed-cache.requisite;
      };
      expected = {
        item.derived = {
          paths = [ ];
          rebuild = "fedi-pixelfed-cache.service";
        };
        last = "cache";
        upstream = false;
        prefix = true;
        running = [ "phpfpm-pixelfed.service" ];
      };
    };
  # That Garage does not look at it: garage_check.py.
  "pixelfed: what is uploaded can be read by nginx where access lists count" = {
    expr = config.pixelfed-mysql-bucket.services.pixelfed.settings.AWS_VISIBILITY;
    expected = "public";
  };
  # The configuration is cached, so `.env` would not do.
  "pixelfed: no checksums of the newer kind, in PHP's pool, the queue and the scheduler" = {
    expr = map (environment: lib.filterAttrs (name: _: lib.hasInfix "CHECKSUM" name) environment) [
      config.pixelfed-mysql-bucket.services.phpfpm.pools.pixelfed.phpEnv
      config.pixelfed-mysql-bucket.systemd.services.pixelfed-horizon.environment
      config.pixelfed-mysql-bucket.systemd.services.pixelfed-cron.environment
    ];
    expected = lib.replicate 3 oldChecksums;
  };
  # The packaged one is asked by the VM test.
  "pixelfed: nothing publishes Horizon's dashboard, whose pages bring all with them" = yes (
    !lib.any (
      unit: lib.hasInfix "horizon:publish" unit.script || lib.hasInfix "horizon:install" unit.script
    ) (lib.attrValues config.pixelfed-mysql-local.systemd.services)
    && lib.hasInfix "no longer publishes" (builtins.readFile ../../../apps/pixelfed/test.nix)
  );
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
