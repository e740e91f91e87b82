# Everything: base, contracts, guest and all applications. Applications do nothing until
# they are enabled.
{
  imports = [
    ./core.nix
  ]
  ++ map (app: ../apps + "/${app}") (import ./lib/apps.nix);
}
