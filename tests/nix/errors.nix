# What must not evaluate at all, and what the error must say (regular expressions).
{ libPath }:
let
  lib = import libPath;
  eval = import ./eval.nix { inherit lib; };
  systems = import ./systems.nix { inherit lib; };
  all = import ./error-cases.nix { inherit lib eval systems; };
in
{
  messages = lib.mapAttrs (_: case: lib.toList case.message) all;
  cases = lib.mapAttrs (_: case: case.expr) all;
}
