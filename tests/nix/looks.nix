# How the tests look at an evaluated system.
{
  lib,
  eval,
  systems,
}:
let
  config = lib.mapAttrs (_: eval.evalConfig) systems;
  yes = expr: {
    inherit expr;
    expected = true;
  };
  script = system: name: config.${system}.systemd.services.${name}.script;
  service = system: name: config.${system}.systemd.services.${name}.serviceConfig;
  needs =
    system: unit: other:
    lib.elem other config.${system}.systemd.services.${unit}.requires;
  dark = system: unit: !lib.elem unit (eval.dormant config.${system});
  secret = system: app: config.${system}.fedi.manifest.apps.${app}.secrets;
  item = system: app: config.${system}.fedi.manifest.apps.${app}.items;
  host = system: name: config.${system}.services.nginx.virtualHosts.${name};
  # Every unit's environment, which ends up in the world-readable store.
  everything =
    system:
    builtins.toJSON (lib.mapAttrs (_: unit: unit.environment) config.${system}.systemd.services);
  # What the AWS libraries read, spelt as all four of them take it (aws-sdk-php and botocore
  # say it so, aws-sdk-core of Ruby and middleware-flexible-checksums of JavaScript do not
  # mind the case).
  oldChecksums = {
    AWS_REQUEST_CHECKSUM_CALCULATION = "when_required";
    AWS_RESPONSE_CHECKSUM_VALIDATION = "when_required";
  };
in
{
  inherit
    config
    yes
    script
    service
    needs
    dark
    secret
    item
    host
    everything
    oldChecksums
    ;
}
