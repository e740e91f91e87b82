# The text of docs/options.md.
{ libPath }:
let
  lib = import libPath;
  eval = import ./eval.nix { inherit lib; };
  app = name: title: {
    inherit title;
    intro = "See also [apps/${name}](../apps/${name}/README.md).";
    prefix = "fedi.apps.${name}.";
  };
in
eval.fedi.optionsDoc {
  inherit (eval.evalModules [ ]) options;
  sections = [
    (app "matrix" "Matrix")
    (app "mastodon" "Mastodon")
    (app "peertube" "PeerTube")
    (app "pixelfed" "Pixelfed")
    (app "garage" "Garage")
    {
      title = "The deployment";
      intro = "Filled in from the inventory.";
      prefix = "fedi.deployment.";
    }
    {
      title = "Every guest";
      intro = "What a guest has whatever runs on it.";
      prefix = "fedi.base.";
    }
    {
      title = "The virtual machine";
      intro = "What makes a system a guest of fedi.";
      prefix = "fedi.guest.";
    }
    {
      title = "Backups";
      intro = "What a guest backs up by itself.";
      prefix = "fedi.backup.";
    }
    {
      title = "Contracts";
      intro = "Between an application's module and whoever carries its state; for those who write modules.";
      prefix = "fedi.contracts.";
    }
  ];
}
