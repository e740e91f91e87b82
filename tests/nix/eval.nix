# Evaluates systems against the stand-ins, and looks at them the way the tests need.
{ lib }:
let
  pkgs = import ./pkgs.nix { inherit lib; };
  fedi = import ../../modules/lib { inherit lib; };
  inherit (import ./boot.nix { inherit lib; }) boot;

  modules = [
    ./upstream
    ../../modules
    { _module.args = { inherit pkgs; }; }
  ];
in
rec {
  inherit pkgs fedi boot;

  evalModules = extra: lib.evalModules { modules = modules ++ lib.toList extra; };
  evalConfig = extra: (evalModules extra).config;

  # A stand-in for the nixpkgs flake: enough for `mkInventory` and for flake.nix.
  nixpkgs = {
    inherit lib;
    outPath = "/nix/store/00000000000000000000000000000000-nixpkgs";
    legacyPackages.x86_64-linux = pkgs;
    legacyPackages.aarch64-linux = pkgs;
  };
  nixosSystem =
    { modules, ... }:
    lib.evalModules {
      specialArgs.modulesPath = ./nixpkgs/nixos/modules;
      modules = [
        ./upstream
        { _module.args = { inherit pkgs; }; }
      ]
      ++ modules;
    };

  failed = config: map (it: it.message) (lib.filter (it: !it.assertion) config.assertions);

  dormant = config: boot config.systemd [ ];
  # Revoked: the file is still there, and fedi-guest finds that it is not held.
  fenced =
    config:
    boot config.systemd (
      map (app: "${config.fedi.contracts.leaseDirectory}/${app}") (
        lib.attrNames config.fedi.contracts.state
      )
    );
  leased =
    config:
    boot config.systemd (
      lib.concatMap (app: [
        "${config.fedi.contracts.leaseDirectory}/${app}"
        "${config.fedi.contracts.leaseMarkers}/${app}"
      ]) (lib.attrNames config.fedi.contracts.state)
    );

  # Units of the applications among a list.
  gatedAmong =
    config: list:
    lib.intersectLists list (
      lib.concatMap (state: state.units ++ [ state.gate ]) (lib.attrValues config.fedi.contracts.state)
    );
}
