# The test scripts of the VM tests, to see at least that they are Python.
{ libPath }:
let
  lib = import libPath;
  eval = import ./eval.nix { inherit lib; };
in
lib.mapAttrs (_: test: test.testScript) (
  import ../vm {
    inherit lib;
    inherit (eval) fedi pkgs;
    module = ../../modules;
  }
)
