# The traps that each application's NixOS module or upstream sets, one test each, named
# for the trap.
{
  lib,
  eval,
  systems,
  ...
}:
let
  config = lib.mapAttrs (_: eval.evalConfig) systems;
  yes = expr: {
    inherit expr;
    expected = true;
  };
  script = system: name: config.${system}.systemd.services.${name}.script;
  service = system: name: config.${system}.systemd.services.${name}.serviceConfig;
  needs =
    system: unit: other:
    lib.elem other config.${system}.systemd.services.${unit}.requires;
  dark = system: unit: !lib.elem unit (eval.dormant config.${system});
  secret = system: app: config.${system}.fedi.manifest.apps.${app}.secrets;
  item = system: app: config.${system}.fedi.manifest.apps.${app}.items;
  host = system: name: config.${system}.services.nginx.virtualHosts.${name};
  # Everything that ends up in the world-readable store of a system's units.
  everything =
    system:
    builtins.toJSON (lib.mapAttrs (_: unit: unit.environment) config.${system}.systemd.services);
in
{
  # Mastodon
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

  # PeerTube
  "peertube: settings cannot be changed in the browser" = {
    expr = config.peertube-local.services.peertube.settings.webadmin.configuration.edition.allowed;
    expected = false;
  };
  "peertube: where they can, the file they go to is state" = {
    expr = (item "peertube-bucket" "peertube").configuration.directory;
    expected = {
      path = "/var/lib/peertube/config";
      owner = "peertube";
      group = "peertube";
      exclude = [
        "default.yaml"
        "local.yaml"
        "production.json"
      ];
      atLeastFiles = 0;
      atLeastBytes = 0;
    };
  };
  "peertube: no access control lists for Garage" = {
    expr = {
      inherit (config.peertube-bucket.services.peertube.settings.object_storage) upload_acl proxy;
    };
    expected = {
      upload_acl = {
        public = null;
        private = null;
      };
      proxy.proxify_private_files = false;
    };
  };
  "peertube: buckets are addressed by host name, so Garage answers to those" = {
    expr = {
      path = config.peertube-bucket.services.peertube.settings.object_storage ? force_path_style;
      garage = config.garage-buckets.services.garage.settings.s3_api.root_domain;
      certificate = lib.elem "peertube-media.s3.garage.example.test" (host "garage-buckets" "s3.garage.example.test")
      .serverAliases;
    };
    expected = {
      path = false;
      garage = ".s3.garage.example.test";
      certificate = true;
    };
  };
  "peertube: every section has the public address that the deployment owns" = yes (
    lib.all
      (
        section:
        config.peertube-bucket.services.peertube.settings.object_storage.${section}.base_url
        == "https://media.peertube.example.test"
      )
      [
        "streaming_playlists"
        "web_videos"
        "user_exports"
        "original_video_files"
        "captions"
      ]
  );
  "peertube: version 9 has its new sections" =
    let
      nine = eval.evalConfig [
        systems.peertube-bucket
        {
          services.peertube.package = eval.pkgs.peertube // {
            version = "9.0.0";
          };
        }
      ];
    in
    yes (nine.services.peertube.settings.object_storage ? thumbnails);
  "peertube: scheme and port are those of every stored address" = {
    expr = {
      inherit (config.peertube-local.services.peertube) enableWebHttps listenWeb;
    };
    expected = {
      enableWebHttps = true;
      listenWeb = 443;
    };
  };
  "peertube: nginx has a certificate, which the module leaves out" = {
    expr = {
      inherit (host "peertube-local" "peertube.example.test") enableACME forceSSL;
    };
    expected = {
      enableACME = true;
      forceSSL = true;
    };
  };
  "peertube: extensions are there before a restore" = {
    expr = {
      made = dark "peertube-local" "peertube-init-db.service";
      before = lib.elem "fedi-database-peertube.service" (eval.dormant config.peertube-local);
      inherit (config.peertube-local.fedi.contracts.database.peertube) extensions;
    };
    expected = {
      made = true;
      before = true;
      extensions = [
        "pg_trgm"
        "unaccent"
      ];
    };
  };
  "peertube: its user can read the secret" = {
    expr = (secret "peertube-local" "peertube").secret.owner;
    expected = "peertube";
  };
  "peertube: root's first password is delivered" = yes (
    lib.hasInfix "PT_INITIAL_ROOT_PASSWORD" (script "peertube-local" "fedi-peertube-secrets")
    &&
      config.peertube-local.services.peertube.serviceEnvironmentFile == "/run/fedi/peertube/environment"
  );
  "peertube: RTMP is open only with live streams" = {
    expr = map (system: lib.elem 1935 config.${system}.networking.firewall.allowedTCPPorts) [
      "peertube-local"
      "peertube-bucket"
    ];
    expected = [
      false
      true
    ];
  };
  "peertube: a version with known holes warns" =
    let
      old = eval.evalConfig [
        systems.peertube-local
        {
          services.peertube.package = eval.pkgs.peertube // {
            version = "8.1.5";
          };
        }
      ];
    in
    yes (lib.any (lib.hasInfix "known holes") old.warnings && config.peertube-local.warnings == [ ]);
  "peertube: caches and redundancy are not carried" = {
    expr = (item "peertube-local" "peertube").storage.directory.exclude;
    expected = [
      "bin"
      "cache"
      "logs"
      "redundancy"
      "tmp"
    ];
  };

  # Pixelfed
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

  # Matrix
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
  "matrix: the local media store is carried even with a bucket" = yes (
    (item "matrix-bucket" "matrix") ? media && (item "matrix-bucket" "matrix") ? bucket
  );

  # Garage
  "garage: a fixed user instead of a dynamic one" = {
    expr = {
      inherit (service "garage-buckets" "garage") DynamicUser User;
    };
    expected = {
      DynamicUser = false;
      User = "garage";
    };
  };
  "garage: secrets come through the environment file" = {
    expr = {
      inherit (service "garage-buckets" "garage") EnvironmentFile;
      settings = lib.intersectLists (lib.attrNames config.garage-buckets.services.garage.settings) [
        "rpc_secret"
        "rpc_secret_file"
      ];
    };
    expected = {
      EnvironmentFile = [ "/run/fedi/garage/environment" ];
      settings = [ ];
    };
  };
  "garage: a major version is chosen" = {
    expr = lib.versions.major config.garage-buckets.services.garage.package.version;
    expected = "2";
  };
  "garage: version 1 is refused" = yes (
    lib.any (lib.hasInfix "needs Garage 2 or newer") (
      eval.failed (
        eval.evalConfig [
          systems.garage-buckets
          { services.garage.package = eval.pkgs.garage_1; }
        ]
      )
    )
  );
  "garage: layout, keys and buckets are made after the start, with the lease only" = {
    expr = {
      dark = dark "garage-buckets" "fedi-garage-provision.service";
      after = needs "garage-buckets" "fedi-garage-provision" "garage.service";
    };
    expected = {
      dark = true;
      after = true;
    };
  };
  "garage: keys are imported, so that consumers need no new ones" = {
    expr = {
      inherit ((secret "garage-buckets" "garage").key-mastodon-id) class generator;
    };
    expected = {
      class = "identity";
      generator = "garageKeyId";
    };
  };
  "garage: the RPC port is not open to the world" = {
    expr = config.garage-buckets.networking.firewall.allowedTCPPorts;
    expected = [
      22
      80
      443
    ];
  };
  "garage: moved by its own files, it refuses another major version" = {
    expr = config.garage-directories.fedi.manifest.apps.garage.upgradesFrom;
    expected = "2.0.0";
  };
  "garage: metadata are copied against a damaged database" = {
    expr = config.garage-buckets.services.garage.settings.metadata_auto_snapshot_interval;
    expected = "6h";
  };

  # All of them
  "TLS: the ACME account and certificates are carried first" = {
    expr = lib.filter (
      name:
      let
        state = lib.head (lib.attrValues config.${name}.fedi.manifest.apps);
      in
      lib.head state.order != "tls" || state.items.tls.directory.path != "/var/lib/acme"
    ) (lib.attrNames systems);
    expected = [ ];
  };
  "TLS: a dormant guest makes no ACME account" = {
    expr = lib.filter (name: lib.any (lib.hasPrefix "acme-order") (eval.dormant config.${name})) (
      lib.attrNames systems
    );
    expected = [ ];
  };
  "PostgreSQL: the order of letters does not change with the C library" = {
    expr = config.mastodon-local.services.postgresql.initdbArgs;
    expected = [
      "--encoding=UTF8"
      "--locale=C.UTF-8"
    ];
  };
}
