# What systemd would start at boot: the units that the boot targets pull in, followed
# through wants, requires, upholds and their reverses, without those whose conditions do
# not hold. systemd starts what a skipped unit requires all the same, so the walk goes on
# through it.
{ lib }:
let
  inherit (import ../../modules/lib { inherit lib; }) units;

  # `ConditionPathExists`: all plain ones must hold, and one of those with `|`.
  holds =
    present: unit:
    let
      conditions = units.words (unit.unitConfig.ConditionPathExists or [ ]);
      exists = path: lib.elem path present;
      triggers = map (lib.removePrefix "|") (lib.filter (lib.hasPrefix "|") conditions);
      plain = lib.filter (path: !lib.hasPrefix "|" path) conditions;
    in
    lib.all exists plain && (triggers == [ ] || lib.any exists triggers);

  start = [
    "sysinit.target"
    "basic.target"
    "multi-user.target"
    "graphical.target"
    "default.target"
    "timers.target"
    "sockets.target"
    "paths.target"
    "network-online.target"
    "phpfpm.target"
  ];
in
{
  # Names of the units that run after a boot with the given files present.
  boot =
    systemd: present:
    let
      all = units.all systemd;
      edges = name: unit: map (other: { inherit name other; }) (units.pulledInBy unit);
      reverse = lib.groupBy (edge: edge.other) (lib.concatLists (lib.mapAttrsToList edges all));
      next =
        name:
        map (edge: edge.name) (reverse.${name} or [ ])
        ++ lib.optionals (all ? ${name}) (units.pulls all.${name});
      reached = map (node: node.key) (
        builtins.genericClosure {
          startSet = map (key: { inherit key; }) start;
          operator = node: map (key: { inherit key; }) (next node.key);
        }
      );
    in
    lib.sort lib.lessThan (lib.filter (name: all ? ${name} && holds present all.${name}) reached);
}
