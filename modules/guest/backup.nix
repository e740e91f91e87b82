# `fedi.backup.<app>`: when a guest backs an application up by itself. Where to, and with
# what rights, is delivered by fedi (`fedi backup`) and lies in a file that root alone
# reads; without it the unit is skipped. What a backup did is in `fedi status`, in
# `fedi-guest backup status`, and for Prometheus' textfile collector in
# /var/lib/fedi/metrics/fedi-backup.prom.
{
  lib,
  config,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.fedi.backup;
  inherit (config.fedi.guest) package;
  agent = lib.getExe package;
  # The image that guests start from has no application, and no contracts.
  contracts =
    config.fedi.contracts or {
      state = { };
      standalone = false;
    };
  apps = lib.attrNames contracts.state;
  served = package != null && !contracts.standalone && apps != [ ];

  # Outside the gate: it pulls nothing in. A dormant guest has nothing to back up, which
  # the agent finds out itself.
  service = app: {
    description = "Back up ${app}";
    after = [ "network-online.target" ];
    wants = [ "network-online.target" ];
    unitConfig.ConditionPathExists = [ "/var/lib/fedi/backup/${app}.json" ];
    serviceConfig = {
      Type = "oneshot";
      ExecStart = "${agent} backup run ${app}";
      # Killed between pausing and resuming, it does not leave the application stopped.
      ExecStopPost = "${agent} backup resume ${app}";
      Nice = 10;
      IOSchedulingClass = "idle";
    };
  };

  timer = app: {
    description = "Back up ${app}";
    wantedBy = [ "timers.target" ];
    timerConfig = {
      OnCalendar = cfg.${app}.schedule;
      RandomizedDelaySec = cfg.${app}.delay;
      # A backup that was missed while the machine was off is made up for.
      Persistent = true;
    };
  };
in
{
  options.fedi.backup = mkOption {
    default = { };
    description = "Backups that this guest makes by itself, by application.";
    type = types.attrsOf (
      types.submodule {
        options = {
          schedule = mkOption {
            type = types.nullOr types.singleLineStr;
            default = null;
            example = "*-*-* 03:30";
            description = ''
              When, as {manpage}`systemd.time(7)` takes it in `OnCalendar=`; null for only
              those that `fedi backup create` makes. From `backup.schedule` in the
              deployment's file.
            '';
          };
          delay = mkOption {
            type = types.singleLineStr;
            default = "15m";
            description = "Up to how much later, by chance, so that not all guests begin at once.";
          };
        };
      }
    );
  };

  config = lib.mkIf served {
    fedi.backup = lib.genAttrs apps (_: { });
    # What the agent runs, besides the tools of the applications' own databases.
    environment.systemPackages = [
      pkgs.restic
      pkgs.openssh
    ];
    systemd.services = lib.listToAttrs (
      map (app: lib.nameValuePair "fedi-backup-${app}" (service app)) apps
    );
    systemd.timers = lib.listToAttrs (
      map (app: lib.nameValuePair "fedi-backup-${app}" (timer app)) (
        lib.filter (app: cfg.${app}.schedule != null) apps
      )
    );
    assertions = map (app: {
      assertion = lib.elem app apps;
      message = "fedi.backup.${app} names an application that this guest does not have: it has ${lib.concatStringsSep ", " apps}.";
    }) (lib.attrNames cfg);
  };
}
