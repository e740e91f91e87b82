# What is compared with the committed snapshots: per system the units and how the gate
# holds them, nginx hosts, firewall and manifest.
{ libPath }:
let
  lib = import libPath;
  eval = import ./eval.nix { inherit lib; };
  systems = import ./systems.nix { inherit lib; };

  view =
    module:
    let
      config = eval.evalConfig module;
      all = eval.fedi.units.all config.systemd;
      gated = eval.gatedAmong config (lib.attrNames all);
      failed = eval.failed config;
    in
    if failed != [ ] then
      throw (lib.concatStringsSep "\n" failed)
    else
      {
        inherit (config.fedi) manifest;
        firewall = {
          tcp = config.networking.firewall.allowedTCPPorts;
          udp = config.networking.firewall.allowedUDPPorts;
        };
        boot = {
          dormant = eval.dormant config;
          leased = lib.subtractLists (eval.dormant config) (eval.leased config);
        };
        units = lib.genAttrs gated (name: {
          wantedBy = eval.fedi.units.pulledInBy all.${name};
          conditions = all.${name}.unitConfig.ConditionPathExists or [ ];
          requires = lib.sort lib.lessThan (lib.unique all.${name}.requires);
        });
        nginx = lib.mapAttrs (_: host: {
          inherit (host) serverAliases enableACME forceSSL;
          locations = lib.mapAttrs (
            _: location:
            lib.filterAttrs (_: value: value != null && value != "" && value != false) {
              inherit (location)
                proxyPass
                alias
                return
                tryFiles
                ;
              root = if location.root == null then null else toString location.root;
            }
          ) host.locations;
        }) config.services.nginx.virtualHosts;
      };
in
lib.mapAttrs (_: view) systems
