# What fedi's modules share: option builders that carry form data, types, the
# inventory reader and the option extractor. A pure function of nixpkgs' `lib`.
{ lib }:
let
  self = {
    types = import ./types.nix { inherit lib; };
    options = import ./options.nix {
      inherit lib;
      fedi = self;
    };
    inherit (import ./option-records.nix { inherit lib; })
      optionRecords
      instrument
      crossCheck
      ;
    optionsDoc = import ./options-doc.nix {
      inherit lib;
      fedi = self;
    };
    units = import ./units.nix { inherit lib; };
    inventory = import ./inventory.nix {
      inherit lib;
      fedi = self;
    };
    mkInventory = import ./mk-inventory.nix {
      inherit lib;
      fedi = self;
    };
    apps = import ./apps.nix;
    shared = import ./shared.nix { inherit lib; };
  };
in
self
