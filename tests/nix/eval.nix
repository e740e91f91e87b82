# Evaluates a system against the stand-ins.
{ lib }:
let
  pkgs = import ./pkgs.nix { inherit lib; };
in
rec {
  inherit pkgs;

  evalModules =
    modules:
    lib.evalModules {
      modules = [
        ./upstream
        ../../modules
        { _module.args = { inherit pkgs; }; }
      ]
      ++ modules;
    };

  failed = config: map (it: it.message) (lib.filter (it: !it.assertion) config.assertions);
}
