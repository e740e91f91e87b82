# Gate and lease. A guest is dormant until fedi grants it the lease: then, and only
# then, may its units seed a database, mint a key or speak to other servers.
#
#   /var/lib/fedi/lease/<app>      the lease: epoch and holder, kept by fedi-guest; a
#                                  revoked one is still there, so it has to be read
#   fedi-<app>-lease.service       reads it; refuses without a secret or after a downgrade
#   /run/fedi/lease/<app>          says that it did; gone with a stop and with the power
#   fedi-<app>.target              the gate; pulls in every unit of the application
#
# Three locks, so that no single change opens a dormant guest: the units are wanted by
# the gate alone, each requires the lease unit, and each has the marker as a condition of
# its own. The last one holds even for `systemctl start mastodon-web` by hand. Without the
# lease units are skipped, not failed: a dormant guest is healthy.
{
  lib,
  config,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  fedi = import ../lib { inherit lib; };
  cfg = config.fedi.contracts;

  marker = app: "${cfg.leaseMarkers}/${app}";
  leaseUnit = app: "fedi-${app}-lease.service";

  # None is an assertion below.
  agent =
    let
      inherit (config.fedi.guest) package;
    in
    if package == null then "fedi-guest" else lib.getExe package;

  own = app: [
    cfg.state.${app}.gate
    (leaseUnit app)
  ];

  # What a listed unit gets, whoever defines it.
  gated = app: state: unit: {
    wantedBy = lib.mkForce (lib.optional (lib.elem unit cfg.gate.${app}.starts) state.gate);
    partOf = [ state.gate ];
    requires = [ (leaseUnit app) ];
    after = [ (leaseUnit app) ];
    unitConfig.ConditionPathExists = [ (marker app) ];
  };

  perKind =
    kind:
    lib.mkMerge (
      lib.mapAttrsToList (
        app: state:
        lib.listToAttrs (
          map (unit: lib.nameValuePair (fedi.units.split unit).name (gated app state unit)) (
            lib.filter (unit: (fedi.units.split unit).kind == kind) state.units
          )
        )
      ) cfg.state
    );

  secretsOf =
    app:
    lib.filterAttrs (_: it: !(it.generator ? operator && it.generator.operator.optional)) (
      cfg.secret.${app} or { }
    );

  versionFile = app: "/var/lib/fedi/version/${app}";

  # Refuses while an older version would have to read what a newer one wrote.
  noDowngrade = app: state: failure: ''
    seen=$(cat ${versionFile app} 2>/dev/null || echo 0)
    newest=$(printf '%s\n%s\n' "$seen" ${state.version} | sort -V | tail -n 1)
    if [ "$newest" != ${state.version} ]; then
      echo "${failure}" >&2
      exit 1
    fi
  '';

  lease = app: state: {
    description = "The lease of ${app}";
    partOf = [ state.gate ];
    unitConfig = lib.optionalAttrs (!cfg.standalone) {
      ConditionPathExists = [ "${cfg.leaseDirectory}/${app}" ];
    };
    path = [ pkgs.coreutils ];
    # The version is written down only once nothing speaks against starting.
    script =
      noDowngrade app state
        "The state of ${app} was last used by version $seen and this system has ${state.version}; a schema cannot go back. Activate the newer system again, or restore a snapshot."
      + lib.concatStrings (
        lib.mapAttrsToList (name: it: ''
          if [ ! -s ${it.path} ]; then
            echo "The secret ${name} of ${app} is missing (${it.path}); nothing is made up in its place. Deploy again to deliver it." >&2
            exit 1
          fi
        '') (secretsOf app)
      )
      + ''
        mkdir -p ${dirOf (versionFile app)}
        echo ${state.version} > ${versionFile app}
        install -d -m 0711 ${dirOf cfg.leaseMarkers} ${cfg.leaseMarkers}
        touch ${marker app}
        rm -f /run/fedi/maintenance
      '';
    serviceConfig = {
      Type = "oneshot";
      RemainAfterExit = true;
      ExecStopPost = "${pkgs.coreutils}/bin/rm -f ${marker app}";
    }
    // lib.optionalAttrs (!cfg.standalone) {
      ExecCondition = "${agent} lease require ${app}";
    };
  };

  # A unit belongs to an application by its name, by the user or group that it runs as, or
  # because it comes after a unit of the application or goes with one. fedi's own units that
  # do so are started at given moments only, which is checked below.
  belongs =
    app: state: unit: definition:
    lib.any (prefix: lib.hasPrefix prefix unit) state.claims.prefixes
    || lib.elem (definition.serviceConfig.User or null) state.claims.users
    || lib.elem (definition.serviceConfig.Group or null) state.claims.users
    || (
      !lib.hasPrefix "fedi-" unit
      && !lib.elem unit cfg.gate.${app}.pullers
      &&
        lib.intersectLists state.units (
          definition.after ++ definition.partOf ++ definition.requisite ++ definition.bindsTo
        ) != [ ]
    );

  check =
    app: state:
    let
      units = fedi.units.all config.systemd;
      inside = state.units ++ own app;
      known = inside ++ state.claims.helpers;
      escaped = lib.attrNames (
        lib.filterAttrs (unit: definition: !lib.elem unit known && belongs app state unit definition) units
      );
      absent = lib.filter (unit: !units ? ${unit}) state.units;
      hollow = lib.filter (
        unit:
        let
          definition = units.${unit};
        in
        lib.hasSuffix ".service" unit
        && units ? ${unit}
        && definition.script == ""
        && !(definition.serviceConfig ? ExecStart)
      ) state.units;
      doors = lib.concatMap (
        unit:
        map (door: "${unit} (through ${door})") (
          lib.subtractLists inside (fedi.units.pulledInBy units.${unit})
        )
      ) (lib.filter (unit: units ? ${unit}) inside);
      # Only the gate itself is wanted at boot.
      openDoors = lib.filter (door: door != "${state.gate} (through multi-user.target)") doors;
      pullers = lib.concatLists (
        lib.mapAttrsToList (
          unit: definition:
          map (target: "${target} (wanted by ${unit})") (
            lib.intersectLists state.units (fedi.units.pulls definition)
          )
        ) (lib.filterAttrs (unit: _: !lib.elem unit (inside ++ cfg.gate.${app}.pullers)) units)
      );
      # What fedi starts at given moments: it has to be there, end by itself, and start at
      # no other time.
      called =
        map (hook: hook.unit) (lib.filter (hook: hook != null) (lib.attrValues state.hooks))
        ++ lib.optional (state.admin != null) state.admin.unit
        ++ lib.concatMap (
          item: lib.optional (item ? derived && item.derived.rebuild != null) item.derived.rebuild
        ) (lib.attrValues state.items);
      unfit = lib.filter (
        unit:
        !units ? ${unit}
        || !lib.hasSuffix ".service" unit
        || units.${unit}.serviceConfig.Type or "simple" != "oneshot"
        || fedi.units.pulledInBy units.${unit} != [ ]
      ) called;
      list = lib.concatStringsSep ", ";
      at = "fedi.contracts.state.${app}";
    in
    [
      {
        assertion = unfit == [ ];
        message = "${at} has ${list unfit} started at given moments: that must be a service of type oneshot that nothing else starts.";
      }
      {
        assertion = escaped == [ ];
        message = ''
          ${list escaped} belongs to ${app} and escapes its gate: it could start on a dormant or fenced guest.
          Add it to ${at}.units, or to ${at}.claims.helpers when it neither seeds, mints nor federates.
        '';
      }
      {
        assertion = absent == [ ];
        message = "${at}.units names ${list absent}, which does not exist (renamed in nixpkgs?).";
      }
      {
        assertion = hollow == [ ];
        message = "${at}.units names ${list hollow}, which runs nothing (renamed in nixpkgs?).";
      }
      {
        assertion = openDoors == [ ];
        message = "Something outside the gate of ${app} starts ${list openDoors}.";
      }
      {
        assertion = pullers == [ ];
        message = "Something outside the gate of ${app} pulls in ${list pullers}.";
      }
    ];
in
{
  options.fedi.contracts = {
    leaseDirectory = mkOption {
      type = fedi.types.runtimePath;
      default = "/var/lib/fedi/lease";
      description = "Folder of the leases; the file of an application is named for it.";
    };
    leaseMarkers = mkOption {
      type = types.str;
      default = "/run/fedi/lease";
      internal = true;
      description = "Folder of the markers that say that a lease was found to be held.";
    };
    standalone = mkOption {
      type = types.bool;
      default = false;
      description = ''
        Whether the applications start without a lease: for a machine that fedi never
        touches. Somebody else then has to see to it that no second copy runs, and to put
        the secrets where {option}`fedi.contracts.secret` says.
      '';
    };
    gate = mkOption {
      default = { };
      description = "How the gate of an application starts its units.";
      type = types.attrsOf (
        types.submodule ({
          options = {
            starts = mkOption {
              type = types.listOf fedi.types.unit;
              default = [ ];
              description = ''
                Units that the gate starts itself. The other units of the application are
                pulled in by these.
              '';
            };
            wants = mkOption {
              type = types.listOf fedi.types.unit;
              default = [ ];
              description = "Units outside the application that are started with it, such as nginx.";
            };
            pullers = mkOption {
              type = types.listOf fedi.types.unit;
              default = [ ];
              description = ''
                Units outside the gate that may want units inside it, because the
                condition on the lease is enough there.
              '';
            };
          };
        })
      );
    };
  };

  config = {
    fedi.contracts.gate = lib.mapAttrs (_: _: { }) cfg.state;

    systemd.targets = lib.mkMerge [
      (perKind "targets")
      (lib.mapAttrs' (
        app: _:
        lib.nameValuePair "fedi-${app}" {
          description = "Everything of ${app}";
          wantedBy = [ "multi-user.target" ];
          requires = [ (leaseUnit app) ];
          wants = cfg.gate.${app}.wants;
          after = [ (leaseUnit app) ];
          unitConfig.ConditionPathExists = [ (marker app) ];
        }
      ) cfg.state)
    ];
    systemd.services = lib.mkMerge [
      (perKind "services")
      (lib.mapAttrs' (app: state: lib.nameValuePair "fedi-${app}-lease" (lease app state)) cfg.state)
    ];
    systemd.timers = perKind "timers";
    systemd.sockets = perKind "sockets";
    systemd.paths = perKind "paths";

    systemd.tmpfiles.rules = lib.optionals (cfg.state != { }) [
      "d /var/lib/fedi 0711 root root - -"
      "d ${cfg.leaseDirectory} 0700 root root - -"
    ];

    # A switch to an older application is refused before anything is stopped.
    system.preSwitchChecks = lib.mapAttrs' (
      app: state:
      lib.nameValuePair "fedi-${app}-downgrade" (
        noDowngrade app state
          "error: ${app} $seen is in use here; this system has ${state.version}, and a schema cannot go back"
      )
    ) cfg.state;

    assertions = lib.concatLists (lib.mapAttrsToList check cfg.state) ++ [
      {
        assertion = cfg.state == { } || cfg.standalone || config.fedi.guest.package != null;
        message = "The lease is asked of fedi-guest: set fedi.guest.package, or fedi.contracts.standalone for a machine that fedi never touches.";
      }
    ];
  };
}
