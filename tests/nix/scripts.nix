# The scripts of fedi's own units, for those tests that run them.
{ libPath }:
let
  lib = import libPath;
  eval = import ./eval.nix { inherit lib; };
  systems = import ./systems.nix { inherit lib; };
in
lib.mapAttrs (
  _: module:
  let
    config = eval.evalConfig module;
    ours = lib.filterAttrs (
      name: unit: lib.hasPrefix "fedi-" name && unit.script != ""
    ) config.systemd.services;
  in
  lib.mapAttrs (_: unit: unit.script) ours
  // lib.mapAttrs' (name: unit: lib.nameValuePair "post-stop ${name}" unit.postStop) (
    lib.filterAttrs (_: unit: unit.postStop != "") ours
  )
  // lib.mapAttrs' (
    name: text: lib.nameValuePair "pre-switch ${name}" text
  ) config.system.preSwitchChecks
) systems
