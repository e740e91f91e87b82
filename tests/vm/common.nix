# What the VM tests share: a machine with one application, and the test driver's words
# for what fedi does from outside (driver.py).
{
  pkgs,
  lib,
  module,
}:
let
  # Stands in for the agent: the lease is a file with the word `held`. The real one is
  # tested in orchestrator/fedi-guest.
  agent = pkgs.writeShellScriptBin "fedi-guest" ''
    [ "$1 $2" = "lease require" ] && grep -q held "/var/lib/fedi/lease/$3"
  '';
in
{
  driver = builtins.readFile ./driver.py;

  # A machine that runs one application, without certificates and without a state disk.
  machine =
    app: settings:
    { config, ... }:
    {
      imports = [ module ];
      fedi = {
        guest = {
          enable = false;
          package = agent;
        };
        deployment = {
          name = app;
          domain = "${app}.test";
          adminEmail = "operator@${app}.test";
        };
        apps.${app} = lib.recursiveUpdate {
          enable = true;
          domain = "${app}.test";
        } settings;
      };
      services.nginx.virtualHosts = lib.genAttrs config.fedi.contracts.web.maintenanceHosts (_: {
        enableACME = lib.mkForce false;
        forceSSL = lib.mkForce false;
      });
      networking.hosts."127.0.0.1" = config.fedi.contracts.web.maintenanceHosts;
      environment.systemPackages = [
        pkgs.curl
        pkgs.jq
        pkgs.openssl
      ];
      virtualisation = {
        memorySize = 3072;
        diskSize = 8192;
        cores = 2;
      };
    };
}
