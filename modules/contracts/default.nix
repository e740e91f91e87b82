# The contracts between an application's module and whoever carries its state.
{
  imports = [
    ./compat/clan.nix
    ./compat/shb.nix
    ./coverage.nix
    ./database.nix
    ./gate.nix
    ./manifest.nix
    ./render.nix
    ./secret.nix
    ./state.nix
    ./web.nix
  ];
}
