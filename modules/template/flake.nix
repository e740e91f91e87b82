{
  description = "My fediverse servers";

  # The repository that you have fedi from; a clone is `git+file:///home/you/fedi`.
  inputs.fedi.url = "git+https://git.example.org/fedi";

  outputs =
    { fedi, ... }:
    {
      # `nix build .#image` makes the disk that guests start from.
      inherit (fedi) packages;
      inherit (fedi.lib.mkInventory { root = ./.; }) nixosConfigurations;
    };
}
