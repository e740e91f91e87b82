# systemd units, as far as fedi's modules set or read them.
# nixpkgs 4aa6836a648ca76c68866decf0c8965e36ec2a3b, nixos/lib/systemd-unit-options.nix,
# nixos/lib/systemd-types.nix, nixos/modules/system/boot/systemd.nix, .../tmpfiles.nix
{ lib, config, ... }:
let
  inherit (lib) mkOption types;

  option = type: default: mkOption { inherit type default; };

  # A directive may be given twice when both values are lists.
  systemdOption = lib.mkOptionType {
    name = "systemd option";
    merge =
      loc: definitions:
      if lib.any (definition: lib.isList definition.value) definitions then
        lib.concatMap (definition: lib.toList definition.value) definitions
      else
        lib.mergeEqualOption loc definitions;
  };
  directives = types.attrsOf systemdOption;
  lists = types.listOf types.str;
  unitName = types.listOf (
    types.strMatching "[a-zA-Z0-9@%:_.\\-]+[.](service|socket|device|mount|automount|swap|target|path|timer|scope|slice)"
  );

  common = {
    enable = option types.bool true;
    description = option types.str "";
    documentation = option lists [ ];
    after = option unitName [ ];
    before = option unitName [ ];
    requires = option unitName [ ];
    requisite = option unitName [ ];
    wants = option unitName [ ];
    upholds = option unitName [ ];
    bindsTo = option unitName [ ];
    partOf = option unitName [ ];
    conflicts = option unitName [ ];
    onFailure = option unitName [ ];
    wantedBy = option unitName [ ];
    requiredBy = option unitName [ ];
    upheldBy = option unitName [ ];
    unitConfig = option directives { };
  };

  service = {
    environment = option (types.attrsOf (
      types.nullOr (
        types.oneOf [
          types.str
          types.path
          types.package
        ]
      )
    )) { };
    path = option (types.listOf (types.either types.package types.str)) [ ];
    script = option types.lines "";
    preStart = option types.lines "";
    postStart = option types.lines "";
    postStop = option types.lines "";
    serviceConfig = option directives { };
    startAt = option (types.either types.str (types.listOf types.str)) [ ];
    restartIfChanged = option types.bool true;
    stopIfChanged = option types.bool true;
    restartTriggers = option (types.listOf types.unspecified) [ ];
  };

  units = options: option (types.attrsOf (types.submodule { inherit options; })) { };

  # A service's `path` is put into its environment, as a definition like any other.
  services = option (types.attrsOf (
    types.submodule (
      { config, ... }:
      {
        options = common // service;
        config.environment.PATH = lib.mkIf (config.path != [ ]) (lib.makeBinPath config.path);
      }
    )
  )) { };
in
{
  options.systemd = {
    inherit services;
    targets = units common;
    timers = units (common // { timerConfig = option directives { }; });
    sockets = units (
      common
      // {
        listenStreams = option lists [ ];
        socketConfig = option directives { };
      }
    );
    paths = units (common // { pathConfig = option directives { }; });
    tmpfiles.rules = option lists [ ];
  };

  # `startAt` makes a timer of the same name.
  config.systemd.timers = lib.mapAttrs (_: service: {
    wantedBy = [ "timers.target" ];
    timerConfig.OnCalendar = service.startAt;
  }) (lib.filterAttrs (_: service: service.startAt != [ ]) config.systemd.services);
}
