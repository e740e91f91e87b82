# Reading systemd units out of a configuration.
{ lib }:
let
  kinds = {
    services = "service";
    sockets = "socket";
    targets = "target";
    timers = "timer";
    paths = "path";
  };
in
rec {
  # `mastodon-web.service` -> { kind = "services"; name = "mastodon-web"; }
  split =
    unit:
    let
      parts = lib.splitString "." unit;
      suffix = lib.last parts;
      kind = lib.findFirst (kind: kinds.${kind} == suffix) null (lib.attrNames kinds);
    in
    {
      inherit kind;
      name = lib.concatStringsSep "." (lib.init parts);
    };

  # Every enabled unit of a configuration by its full name.
  all =
    systemd:
    lib.concatMapAttrs (
      kind: suffix:
      lib.mapAttrs' (name: unit: lib.nameValuePair "${name}.${suffix}" unit) (
        lib.filterAttrs (_: unit: unit.enable) systemd.${kind}
      )
    ) kinds;

  # What makes a unit start when another one does.
  pulledInBy = unit: unit.wantedBy ++ unit.requiredBy ++ unit.upheldBy;
  pulls = unit: unit.wants ++ unit.requires ++ unit.upholds ++ unit.bindsTo;

  # A directive that may be written as a list or as words in one string.
  words =
    value:
    if lib.isList value then
      lib.concatMap words value
    else
      lib.filter (word: word != "") (lib.splitString " " (toString value));
}
