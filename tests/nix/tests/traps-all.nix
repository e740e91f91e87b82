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
    yes
    ;

  # Whether the gate of an application waits for an order of a certificate, or needs one.
  waitsForAuthority =
    config:
    let
      inherit (eval.fedi) units;
      all = units.all config.systemd;
      add = from: to: { inherit from to; };
      edges = lib.concatLists (
        lib.mapAttrsToList (
          name: unit:
          map (add name) (unit.after ++ unit.requires ++ unit.bindsTo)
          ++ map (other: add other name) (unit.before ++ unit.requiredBy)
          ++ lib.optionals (lib.hasSuffix ".target" name) (map (add name) unit.wants)
          ++ map (other: add other name) (lib.filter (lib.hasSuffix ".target") unit.wantedBy)
        ) all
      );
      next = lib.mapAttrs (_: map (edge: edge.to)) (lib.groupBy (edge: edge.from) edges);
      reached = builtins.genericClosure {
        startSet = map (state: { key = state.gate; }) (lib.attrValues config.fedi.contracts.state);
        operator = node: map (key: { inherit key; }) (next.${node.key} or [ ]);
      };
    in
    lib.any (node: lib.hasPrefix "acme-order" node.key) reached;
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
  # A target waits for whatever it pulls in (systemd.target(5)), so an order from an
  # authority that does not answer would hold up the gate. A failed one must not stop it.
  "TLS: an authority that does not answer holds up no gate" = {
    expr = lib.filter (name: waitsForAuthority config.${name}) (lib.attrNames systems);
    expected = [ ];
  };
  "TLS: the walk that finds what a gate waits for finds what it is shown" = yes (
    waitsForAuthority (
      eval.evalConfig [
        systems.matrix-local
        {
          systemd.services."acme-matrix.example.test".after = [
            "acme-order-renew-matrix.example.test.service"
          ];
        }
      ]
    )
  );
  "PostgreSQL: the order of letters does not change with the C library" = {
    expr = config.mastodon-local.services.postgresql.initdbArgs;
    expected = [
      "--encoding=UTF8"
      "--locale=C.UTF-8"
    ];
  };
}
