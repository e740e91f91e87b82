# What Synapse would read: the settings of the systems that run it.
{ libPath }:
let
  lib = import libPath;
  eval = import ./eval.nix { inherit lib; };
  systems = import ./systems.nix { inherit lib; };
  # nixpkgs' module leaves nulls out.
  dense =
    value:
    if lib.isAttrs value then
      lib.mapAttrs (_: dense) (lib.filterAttrs (_: inner: inner != null) value)
    else if lib.isList value then
      map dense value
    else
      value;
  more = {
    matrix-open = {
      imports = [ systems.matrix-bucket ];
      fedi.apps.matrix = {
        registration = "open";
        retentionDays = 365;
        federation.allow = [ "example.net" ];
        encryptByDefault = "all";
        guests = true;
        presence = false;
      };
    };
    matrix-alone = {
      imports = [ systems.matrix-local ];
      fedi.apps.matrix.federation.enable = false;
    };
  };
in
lib.mapAttrs
  (
    _: module:
    let
      config = eval.evalConfig module;
    in
    {
      settings = dense config.services.matrix-synapse.settings;
      secrets = lib.attrNames config.fedi.contracts.secret.matrix;
      render = config.systemd.services.fedi-matrix-secrets.script;
    }
  )
  (
    {
      inherit (systems) matrix-local matrix-bucket matrix-copy;
    }
    // more
  )
