# NixOS VM tests, as flake checks: for machines with KVM and a binary cache.
#   nix build .#checks.x86_64-linux.matrix
# `tests/nix` evaluates their nodes against stand-ins, which is as far as one gets without.
{
  pkgs,
  lib,
  fedi,
  module,
}:
let
  common = import ./common.nix { inherit pkgs lib module; };
  run =
    test:
    pkgs.testers.runNixOSTest (
      test
      // {
        testScript = common.driver + test.testScript;
      }
    );
in
lib.genAttrs fedi.apps (
  app: run (import (../../apps + "/${app}/test.nix") { inherit pkgs lib common; })
)
// {
  guest = run (import ./guest.nix { inherit common; });
}
