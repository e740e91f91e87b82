# Runs every test in tests/: an attribute set of `{ expr, expected }`. The result is a
# list of `{ name, ok, detail }`.
{ libPath }:
let
  lib = import libPath;
  eval = import ./eval.nix { inherit lib; };
  systems = import ./systems.nix { inherit lib; };
  arguments = {
    inherit
      lib
      eval
      systems
      libPath
      ;
  };

  files = lib.filter (lib.hasSuffix ".nix") (lib.attrNames (builtins.readDir ./tests));
  run =
    file:
    lib.mapAttrsToList (
      name: test:
      let
        ok = test.expr == test.expected;
      in
      {
        name = "${lib.removeSuffix ".nix" file}: ${name}";
        inherit ok;
        detail =
          if ok then
            ""
          else
            "expected ${builtins.toJSON test.expected}\nfound    ${builtins.toJSON test.expr}";
      }
    ) (import (./tests + "/${file}") arguments);
in
lib.concatMap run files
