# `/etc/fedi/manifest.json`: what the contracts declare, as
# `orchestrator/fedi-model/src/manifest.rs` reads it. Unknown fields are refused there,
# and `tests/nix/snapshots/` is read by a test of that crate, so neither side can change
# alone.
{ lib, config, ... }:
let
  cfg = config.fedi.contracts;

  # A field that says nothing is left out.
  dense =
    value:
    if lib.isAttrs value then
      lib.mapAttrs (_: dense) (lib.filterAttrs (_: inner: inner != null) value)
    else if lib.isList value then
      map dense value
    else
      value;

  application = app: state: {
    inherit (state)
      version
      upgradesFrom
      gate
      items
      order
      hooks
      fence
      records
      endpoints
      admin
      ;
    units = lib.sort lib.lessThan (lib.unique state.units);
    secrets = cfg.secret.${app} or { };
  };
in
{
  options.fedi.manifest = lib.mkOption {
    type = lib.types.raw;
    readOnly = true;
    description = "What this system declares to fedi; the content of `/etc/fedi/manifest.json`.";
  };

  config = {
    fedi.manifest = {
      schema = 1;
      apps = dense (lib.mapAttrs application cfg.state);
    };
    environment.etc."fedi/manifest.json".text = builtins.toJSON config.fedi.manifest;
  };
}
