# Everything: base, contracts, guest and all applications. Applications do nothing until
# they are enabled.
{
  imports = [
    ./base
    ./contracts
    ./guest
  ]
  ++ map (app: ../apps + "/${app}") (
    builtins.filter (app: builtins.pathExists (../apps + "/${app}/default.nix")) (
      builtins.attrNames (import ./lib/apps.nix)
    )
  );
}
