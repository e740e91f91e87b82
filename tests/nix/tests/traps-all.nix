# The traps that nixpkgs' module or upstream sets for all applications, one test each, named for
# the trap.
{
  lib,
  eval,
  systems,
  ...
}:
let
  inherit (import ../looks.nix { inherit lib eval systems; })
    config
    ;
in
{
  "TLS: the ACME account and certificates are carried first" = {
    expr = lib.filter (
      name:
      let
        state = lib.head (lib.attrValues config.${name}.fedi.manifest.apps);
      in
      lib.head state.order != "tls" || state.items.tls.directory.path != "/var/lib/acme"
    ) (lib.attrNames systems);
    expected = [ ];
  };
  "TLS: a dormant guest makes no ACME account" = {
    expr = lib.filter (name: lib.any (lib.hasPrefix "acme-order") (eval.dormant config.${name})) (
      lib.attrNames systems
    );
    expected = [ ];
  };
  "PostgreSQL: the order of letters does not change with the C library" = {
    expr = config.mastodon-local.services.postgresql.initdbArgs;
    expected = [
      "--encoding=UTF8"
      "--locale=C.UTF-8"
    ];
  };
}
