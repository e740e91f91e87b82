{
  description = "My fediverse servers";

  inputs.fedi.url = "github:fedi-project/fedi";

  outputs =
    { fedi, ... }:
    {
      inherit (fedi.lib.mkInventory { root = ./.; }) nixosConfigurations;
    };
}
