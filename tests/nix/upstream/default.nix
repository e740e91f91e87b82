# Stand-ins for nixpkgs' modules: the options that fedi's modules set or read, in our
# own words, with types, defaults and units as facts read in nixpkgs. A misspelt, removed
# or ill-typed upstream option therefore fails an evaluation test that needs no nixpkgs.
{
  imports = [
    ./databases.nix
    ./garage.nix
    ./mastodon.nix
    ./nginx.nix
    ./peertube.nix
    ./pixelfed.nix
    ./synapse.nix
    ./system.nix
    ./systemd.nix
  ];
}
