# The units that the stand-ins define, with nothing of ours: per nixpkgs module.
{ libPath }:
let
  lib = import libPath;
  eval = import ./eval.nix { inherit lib; };

  unitsOf =
    module:
    let
      inherit
        (lib.evalModules {
          modules = [
            ./upstream
            { _module.args = { inherit (eval) pkgs; }; }
            module
          ];
        })
        config
        ;
    in
    lib.mapAttrs (_: unit: {
      inherit (unit) wantedBy requires;
    }) (eval.fedi.units.all config.systemd);
in
lib.mapAttrs (_: unitsOf) {
  "services.mastodon".services.mastodon = {
    enable = true;
    localDomain = "x.test";
    streamingProcesses = 1;
    smtp.fromAddress = "x@x.test";
  };
  "services.peertube".services.peertube = {
    enable = true;
    localDomain = "x.test";
    secrets.secretsFile = "/x";
    database.createLocally = true;
    redis.createLocally = true;
  };
  "services.pixelfed".services.pixelfed = {
    enable = true;
    domain = "x.test";
    secretFile = "/x";
  };
  "services.matrix-synapse".services.matrix-synapse.enable = true;
  "services.garage".services.garage = {
    enable = true;
    package = eval.pkgs.garage_2;
    settings = { };
  };
  "services.postgresql".services.postgresql.enable = true;
  "services.mysql".services.mysql = {
    enable = true;
    package = eval.pkgs.mariadb;
  };
  "services.redis".services.redis.servers.x.enable = true;
  "services.nginx".services.nginx = {
    enable = true;
    virtualHosts."x.test".enableACME = true;
  };
  "security.acme".services.nginx = {
    enable = true;
    virtualHosts."x.test".enableACME = true;
    virtualHosts."y.test".enableACME = true;
  };
}
