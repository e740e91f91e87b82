# Every deployment of the repository's own inventory, evaluated as `make bench` times it.
{ libPath }:
let
  lib = import libPath;
  eval = import ./eval.nix { inherit lib; };
  inventory = eval.fedi.mkInventory {
    root = ../..;
    inherit (eval) nixpkgs nixosSystem;
  };
in
lib.mapAttrs (
  name: system:
  let
    inherit (system) config;
    failed = eval.failed config;
  in
  if failed != [ ] then
    throw "${name}: ${lib.concatStringsSep "\n" failed}"
  else
    {
      inherit (config.fedi) manifest;
      inherit (config.networking) hostName;
      inherit (config.fedi.deployment) host domain adminEmail;
      firewall = config.networking.firewall.allowedTCPPorts;
      dormant = eval.gatedAmong config (eval.dormant config);
      nginx = lib.attrNames config.services.nginx.virtualHosts;
    }
) inventory.nixosConfigurations
