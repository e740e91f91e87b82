# Gate and lease. A guest is dormant until fedi grants it the lease: then, and only
# then, may its units seed a database, mint a key or speak to other servers.
#
#   /var/lib/fedi/lease/<app>      the lease; fedi-guest writes and removes it
#   fedi-<app>-lease.service       refuses without the lease, a secret, or after a downgrade
#   fedi-<app>.target              the gate; pulls in every unit of the application
#
# Three locks, so that no single change opens a dormant guest: the units are wanted by
# the gate alone, each requires the lease unit, and each has the lease as a condition of
# its own. The last one holds even for `systemctl start mastodon-web` by hand.
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

  leaseOf = app: "${cfg.leaseDirectory}/${app}";
  leaseUnit = app: "fedi-${app}-lease.service";

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
    unitConfig.ConditionPathExists = [ (leaseOf app) ];
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

  # The lease is held by whoever has the file; what the file says is fedi-guest's. The
  # version is written down only once nothing speaks against starting.
  lease = app: state: {
    description = "The lease of ${app}";
    before = state.units ++ [ state.gate ];
    partOf = [ state.gate ];
    unitConfig = {
      AssertPathExists = [ (leaseOf app) ];
      AssertFileNotEmpty = lib.mapAttrsToList (_: it: it.path) (secretsOf app);
    };
    serviceConfig = {
      Type = "oneshot";
      RemainAfterExit = true;
    };
    path = [ pkgs.coreutils ];
    script = ''
      mkdir -p ${dirOf (versionFile app)}
      seen=$(cat ${versionFile app} 2>/dev/null || echo 0)
      newest=$(printf '%s\n%s\n' "$seen" ${state.version} | sort -V | tail -n 1)
      if [ "$newest" != ${state.version} ]; then
        echo "The state of ${app} was last used by version $seen; this system has ${state.version}." >&2
        echo "A schema cannot go back: activate the newer system again, or restore a snapshot." >&2
        exit 1
      fi
      echo ${state.version} > ${versionFile app}
    '';
  };

  # A unit belongs to an application by its name, or by the user that it runs as.
  belongs =
    state: unit: definition:
    lib.any (prefix: lib.hasPrefix prefix unit) state.claims.prefixes
    || lib.elem (definition.serviceConfig.User or null) state.claims.users;

  check =
    app: state:
    let
      units = fedi.units.all config.systemd;
      inside = state.units ++ own app;
      known = inside ++ state.claims.helpers;
      escaped = lib.attrNames (
        lib.filterAttrs (unit: definition: !lib.elem unit known && belongs state unit definition) units
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
      list = lib.concatStringsSep ", ";
      at = "fedi.contracts.state.${app}";
    in
    [
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
        app: state:
        lib.nameValuePair "fedi-${app}" {
          description = "Everything of ${app}";
          wantedBy = [ "multi-user.target" ];
          requires = [ (leaseUnit app) ];
          wants = cfg.gate.${app}.wants;
          after = [ (leaseUnit app) ];
          unitConfig.ConditionPathExists = [ (leaseOf app) ];
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
      lib.nameValuePair "fedi-${app}-downgrade" ''
        seen=$(cat ${versionFile app} 2>/dev/null || echo 0)
        newest=$(printf '%s\n%s\n' "$seen" ${state.version} | sort -V | tail -n 1)
        if [ "$newest" != ${state.version} ]; then
          echo "error: ${app} $seen is in use here; this system has ${state.version}, and a schema cannot go back" >&2
          exit 1
        fi
      ''
    ) cfg.state;

    assertions = lib.concatLists (lib.mapAttrsToList check cfg.state);
  };
}
