# The units of an application and of its gate as data, for the test that boots them.
{ libPath }:
let
  lib = import libPath;
  eval = import ./eval.nix { inherit lib; };
  systems = import ./systems.nix { inherit lib; };

  view =
    module:
    let
      config = eval.evalConfig module;
      app = lib.head (lib.attrNames config.fedi.contracts.state);
      state = config.fedi.contracts.state.${app};
      all = eval.fedi.units.all config.systemd;
      names = lib.filter (name: all ? ${name}) (
        state.units
        ++ [
          state.gate
          "fedi-${app}-lease.service"
          "nginx.service"
        ]
      );
    in
    {
      inherit app;
      inherit (state) gate units;
      secrets = lib.mapAttrsToList (_: it: it.path) config.fedi.contracts.secret.${app};
      lease = config.systemd.services."fedi-${app}-lease".script;
      definitions = lib.genAttrs names (
        name:
        let
          unit = all.${name};
        in
        {
          inherit (unit)
            after
            requires
            wants
            partOf
            wantedBy
            requiredBy
            requisite
            ;
          conditions = eval.fedi.units.words (unit.unitConfig.ConditionPathExists or [ ]);
          triggers = unit.timerConfig.Unit or "${lib.removeSuffix ".timer" name}.service";
          oneshot = (unit.serviceConfig.Type or "") == "oneshot";
          stays = unit.serviceConfig.RemainAfterExit or false;
        }
      );
    };
in
lib.mapAttrs (_: view) {
  inherit (systems)
    mastodon-local
    matrix-local
    peertube-local
    pixelfed-mysql-local
    garage-buckets
    ;
}
