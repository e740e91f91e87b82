# Every option that the stand-ins declare, with its type in words.
{ libPath }:
let
  lib = import libPath;
  eval = import ./eval.nix { inherit lib; };
  records = eval.fedi.optionRecords {
    inherit
      (lib.evalModules {
        modules = [
          ./upstream
          { _module.args = { inherit (eval) pkgs; }; }
        ];
      })
      options
      ;
    evaluateDefaults = false;
  };
in
map (record: {
  inherit (record) name internal;
  type = record.typeText;
  removed = record.marker != null;
}) records
