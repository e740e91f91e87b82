# The traps that nixpkgs' module or upstream sets for PeerTube, one test each, named for
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
    dark
    secret
    item
    host
    oldChecksums
    ;
in
{
  "peertube: its home can be written, and is no state" = {
    expr = config.peertube-local.systemd.services.peertube.environment.HOME;
    expected = "/var/cache/peertube";
  };
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
  # PeerTube asks for it itself; a plugin with a client of its own does not.
  "peertube: no checksums of the newer kind" = {
    expr = lib.filterAttrs (
      name: _: lib.hasInfix "CHECKSUM" name
    ) config.peertube-bucket.systemd.services.peertube.environment;
    expected = oldChecksums;
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
  "peertube: state from before 8.1 is refused, it needs a script beside the running server" =
    let
      from =
        version:
        eval.failed (
          eval.evalConfig [
            systems.peertube-local
            { fedi.deployment.ranVersion.peertube = version; }
          ]
        );
    in
    yes (lib.any (lib.hasInfix "Upgrade in steps") (from "8.0.2") && from "8.1.0" == [ ]);
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
}
