# The gate: nothing of an application runs on a dormant or fenced guest.
{
  lib,
  eval,
  systems,
  ...
}:
let
  perSystem =
    title: body:
    lib.mapAttrs' (
      name: module: lib.nameValuePair "${title} (${name})" (body (eval.evalConfig module))
    ) systems;

  matrix = systems.matrix-local;
  failures =
    extra:
    eval.failed (
      eval.evalConfig [
        matrix
        extra
      ]
    );
  says =
    pattern: messages:
    lib.any (
      message: builtins.match ".*${pattern}.*" (lib.replaceStrings [ "\n" ] [ " " ] message) != null
    ) messages;
  escapes = extra: says "escapes its gate" (failures extra);
in
perSystem "a dormant guest runs nothing of the application" (config: {
  expr = eval.gatedAmong config (eval.dormant config);
  expected = [ ];
})
// perSystem "a fenced guest stays dark over a reboot" (config: {
  expr = eval.gatedAmong config (eval.fenced config);
  expected = [ ];
})
// perSystem "nginx is dark on a fresh guest" (config: {
  expr = lib.elem "nginx.service" (eval.dormant config);
  expected = false;
})
// perSystem "with the lease every unit runs, or has a timer" (config: {
  expr =
    let
      units = lib.concatMap (state: state.units ++ [ state.gate ]) (
        lib.attrValues config.fedi.contracts.state
      );
      timed = lib.filter (unit: lib.elem "${lib.removeSuffix ".service" unit}.timer" units) units;
    in
    lib.subtractLists (eval.leased config ++ timed) units;
  expected = [ ];
})
// perSystem "every service has all three locks" (config: {
  expr =
    let
      all = eval.fedi.units.all config.systemd;
      unlocked =
        app: state:
        lib.filter (
          unit:
          !(
            lib.elem "${config.fedi.contracts.leaseMarkers}/${app}" (
              all.${unit}.unitConfig.ConditionPathExists or [ ]
            )
            && lib.elem "fedi-${app}-lease.service" all.${unit}.requires
            && lib.subtractLists [ state.gate ] all.${unit}.wantedBy == [ ]
          )
        ) state.units;
    in
    lib.concatLists (lib.mapAttrsToList unlocked config.fedi.contracts.state);
  expected = [ ];
})
// perSystem "a quiesced guest keeps nginx for the maintenance page" (config: {
  expr =
    let
      certificates = map (certificate: "${certificate.directory}/fullchain.pem") (
        lib.attrValues config.security.acme.certs
      );
    in
    lib.elem "nginx.service" (eval.boot config.systemd certificates);
  expected = true;
})
// {
  "a new service of the application escapes" = {
    expr = escapes {
      systemd.services.matrix-synapse-janitor = {
        wantedBy = [ "multi-user.target" ];
        script = "true";
      };
    };
    expected = true;
  };
  "a new timer of the application escapes" = {
    expr = escapes {
      systemd.timers.matrix-synapse-janitor.wantedBy = [ "timers.target" ];
    };
    expected = true;
  };
  "a new socket of the application escapes" = {
    expr = escapes {
      systemd.sockets.matrix-synapse-admin.wantedBy = [ "sockets.target" ];
    };
    expected = true;
  };
  "a unit of another name that runs as the application's user escapes" = {
    expr = escapes {
      systemd.services.auto-compressor = {
        wantedBy = [ "multi-user.target" ];
        script = "true";
        serviceConfig.User = "matrix-synapse";
      };
    };
    expected = true;
  };
  "a unit of another name and user that comes after the application escapes" = {
    expr = escapes {
      systemd.services.janitor = {
        wantedBy = [ "multi-user.target" ];
        after = [ "matrix-synapse.service" ];
        script = "true";
      };
    };
    expected = true;
  };
  "a unit of another name that has the application's group escapes" = {
    expr = escapes {
      systemd.services.janitor = {
        wantedBy = [ "multi-user.target" ];
        script = "true";
        serviceConfig.Group = "matrix-synapse";
      };
    };
    expected = true;
  };
  "a disabled unit does not escape" = {
    expr = escapes {
      systemd.services.matrix-synapse-janitor = {
        enable = false;
        wantedBy = [ "multi-user.target" ];
      };
    };
    expected = false;
  };
  "another unit that pulls one in is found" = {
    expr = says "pulls in matrix-synapse.service \\(wanted by bridge.service\\)" (failures {
      systemd.services.bridge = {
        wantedBy = [ "multi-user.target" ];
        wants = [ "matrix-synapse.service" ];
        script = "true";
      };
    });
    expected = true;
  };
  "another door into the gate is found" = {
    expr = says "starts matrix-synapse.service \\(through graphical.target\\)" (failures {
      systemd.services.matrix-synapse.wantedBy = lib.mkOverride 10 [ "graphical.target" ];
    });
    expected = true;
  };
  "a unit that nixpkgs no longer has is found" = {
    expr = says "names matrix-old.service, which (does not exist|runs nothing)" (failures {
      fedi.contracts.state.matrix.units = [ "matrix-old.service" ];
    });
    expected = true;
  };
  "a machine without fedi starts without a lease" = {
    expr =
      let
        config = eval.evalConfig [
          matrix
          { fedi.contracts.standalone = true; }
        ];
      in
      {
        # The lease unit runs at boot, and makes the marker itself.
        lease = lib.elem "fedi-matrix-lease.service" (eval.dormant config);
        asks = config.systemd.services.fedi-matrix-lease.serviceConfig ? ExecCondition;
      };
    expected = {
      lease = true;
      asks = false;
    };
  };
  "the lease is asked of fedi-guest" = {
    expr = lib.hasSuffix "fedi-guest lease require matrix" (
      (eval.evalConfig matrix).systemd.services.fedi-matrix-lease.serviceConfig.ExecCondition
    );
    expected = true;
  };
  "a missing secret stops the start" = {
    expr =
      let
        inherit ((eval.evalConfig matrix).systemd.services.fedi-matrix-lease) script;
      in
      map (name: lib.hasInfix "-s /var/lib/fedi/secrets/matrix/${name} ]" script) [
        "signing-key"
        "password-pepper"
        "macaroon-secret-key"
      ];
    expected = [
      true
      true
      true
    ];
  };
}
