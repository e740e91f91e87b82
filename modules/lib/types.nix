# Types that nixpkgs does not have, each with a description that an operator
# understands in an error message.
{ lib }:
let
  inherit (lib) types;
  described =
    description: type:
    type
    // {
      inherit description;
      descriptionClass = "noun";
    };
in
{
  # A lower-case name of at least two labels, without the final dot (RFC 1035, 2.3.4).
  domain = described "domain name in lower case, such as social.example.org" (
    types.strMatching "([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
  );

  # A systemd unit that a hook or a gate can name.
  unit = described "systemd unit name" (
    types.strMatching "[A-Za-z0-9:_.@-]+\\.(service|socket|target|timer|path)"
  );

  duration = described "time such as 30s, 15m or 2h" (types.strMatching "[0-9]+(s|m|h)");

  email = described "mail address" (types.strMatching "[^@[:space:]]+@[^@[:space:]]+");

  octalMode = described "file mode of four octal digits, such as 0400" (
    types.strMatching "0[0-7]{3}"
  );

  # Never a path in the world-readable Nix store: a string, not a path literal.
  runtimePath = described "absolute path outside the Nix store" (
    types.addCheck (types.strMatching "/.*") (path: !lib.hasPrefix builtins.storeDir path)
  );

  httpUrl = described "URL beginning with http:// or https://" (
    types.strMatching "https?://[^[:space:]]+"
  );

  # Sizes as nginx, PHP and Synapse all read them.
  size = described "size such as 50M or 2G" (types.strMatching "[0-9]+[KMG]");

  secretName = described "secret name (lower-case letters, digits, -)" (
    types.strMatching "[a-z][a-z0-9-]{0,62}[a-z0-9]"
  );
}
