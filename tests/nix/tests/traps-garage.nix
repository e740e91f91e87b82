# The traps that nixpkgs' module or upstream sets for Garage, one test each, named for
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
    service
    needs
    dark
    secret
    ;
in
{
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
}
