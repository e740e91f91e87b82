# The virtual hosts of every system, for the test that gives them to a real nginx.
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
  in
  {
    upstreams = lib.attrNames config.services.nginx.upstreams;
    hosts = lib.mapAttrs (_: host: {
      inherit (host) serverAliases extraConfig;
      root = if host.root == null then null else toString host.root;
      locations = lib.mapAttrs (_: location: {
        inherit (location)
          proxyPass
          return
          tryFiles
          extraConfig
          alias
          ;
      }) host.locations;
    }) config.services.nginx.virtualHosts;
  }
) systems
