# `lib.mkInventory`: an operator's folder becomes NixOS configurations, one a deployment.
{ lib, fedi }:
{
  # The folder with fedi.toml and hosts/.
  root,
  nixpkgs,
  system ? "x86_64-linux",
  # Modules for every deployment, besides fedi's own.
  modules ? [ ],
  # fedi's own modules; the flake passes its `nixosModules.default`.
  fediModule ? ../default.nix,
  # What makes a system out of modules.
  nixosSystem ? nixpkgs.lib.nixosSystem,
}:
let
  inventory = fedi.inventory.read root;

  moduleOf = deployment: {
    _file = deployment.file;
    config.fedi = {
      deployment = {
        inherit (deployment) name host;
        inherit (deployment.content) domain;
        adminEmail =
          if deployment.content.admin-email != null then
            deployment.content.admin-email
          else
            inventory.fedi.operator.email;
        authorizedKeys = inventory.fedi.ssh.authorized-keys;
      };
      backup.${deployment.content.app} = { inherit (deployment.content.backup) schedule; };
      apps.${deployment.content.app} = deployment.settings // {
        enable = true;
        inherit (deployment.content) domain;
      };
    };
  };
in
{
  inherit (inventory) deployments;

  nixosConfigurations = builtins.seq inventory.fedi (
    lib.mapAttrs (
      _: deployment:
      nixosSystem {
        inherit system;
        modules = [
          fediModule
          (moduleOf deployment)
        ]
        ++ lib.optional (deployment.nix != null) deployment.nix
        ++ modules;
      }
    ) inventory.deployments
  );
}
