# Every application with every way of keeping its state, as a deployment of an example
# host. `variants` says what there is, out of the options themselves: a new choice of an
# option makes new rows. `results` reads the inventory that `matrix.py` writes of them.
{
  libPath,
  root ? null,
}:
let
  lib = import libPath;
  eval = import ./eval.nix { inherit lib; };
  inherit (eval) fedi;

  # Options whose choice decides where state lies.
  axes = [
    [
      "media"
      "store"
    ]
    [ "database" ]
    [ "databaseEngine" ]
    [ "carry" ]
  ];
  # What a choice needs besides itself.
  needs =
    options: path: value:
    lib.optionalAttrs (path == lib.head axes && value == "bucket") {
      media = {
        endpoint = "https://s3.garage.example.test";
      }
      // lib.optionalAttrs (options.media ? webEndpoint) {
        webEndpoint = "https://media.web.garage.example.test";
      };
    };
  always.garage.buckets.media = {
    keys = [ "media" ];
    website = true;
  };

  variantsOf =
    app:
    let
      options = import (../../apps + "/${app}/options.nix") { inherit lib fedi; };
      choices = map (
        path:
        map (value: {
          word = value;
          settings = lib.recursiveUpdate (lib.setAttrByPath path value) (needs options path value);
        }) (lib.getAttrFromPath path options).type.functor.payload.values
      ) (lib.filter (path: lib.hasAttrByPath path options) axes);
      combine = lib.foldl (rows: axis: lib.concatMap (row: map (choice: row ++ [ choice ]) axis) rows) [
        [ ]
      ];
    in
    map (row: {
      name = lib.concatStringsSep "-" ([ app ] ++ map (choice: choice.word) row);
      value = {
        inherit app;
        choices = map (choice: choice.word) row;
        settings = lib.foldl lib.recursiveUpdate (always.${app} or { }) (map (choice: choice.settings) row);
      };
    }) (combine choices);

  configurations =
    modules:
    (fedi.mkInventory {
      inherit root modules;
      inherit (eval) nixpkgs nixosSystem;
    }).nixosConfigurations;
  plain = configurations [ ];
  unclaimed = configurations [
    { systemd.services.rogue.serviceConfig.StateDirectory = "rogue"; }
  ];

  look =
    name: system:
    let
      inherit (system) config;
      states = lib.attrValues config.fedi.contracts.state;
      units = lib.concatMap (state: state.units ++ [ state.gate ]) states;
      timed = lib.filter (unit: lib.elem "${lib.removeSuffix ".service" unit}.timer" units) units;
    in
    {
      inherit (config.fedi.deployment) host;
      inherit (config.fedi) manifest;
      failed = eval.failed config;
      lint = lib.any (lib.hasInfix "claims /var/lib/rogue") (eval.failed unclaimed.${name}.config);
      kinds = lib.unique (
        lib.concatMap (state: lib.concatMap lib.attrNames (lib.attrValues state.items)) (
          lib.attrValues config.fedi.manifest.apps
        )
      );
      dormant = eval.gatedAmong config (eval.dormant config);
      fenced = eval.gatedAmong config (eval.fenced config);
      notLeased = lib.subtractLists (eval.leased config ++ timed) units;
    };
in
{
  variants = lib.listToAttrs (lib.concatMap variantsOf fedi.apps);
  results = lib.mapAttrs look plain;
}
