# The coverage lint: every state directory, database, Redis instance, bucket and secret
# of the host is claimed by exactly one item, or left out with a reason. What nobody
# claims would be missing from every backup, and nobody would notice until the restore.
{ lib, config, ... }:
let
  inherit (lib) mkOption types;
  fedi = import ../lib { inherit lib; };
  cfg = config.fedi.contracts;

  list = lib.concatStringsSep ", ";

  # (label, kind, key) of every claim.
  claims = lib.concatLists (
    lib.mapAttrsToList (
      app: state:
      lib.concatLists (
        lib.mapAttrsToList (
          name: item:
          let
            label = "${app}.${name}";
            claim = kind: key: { inherit label kind key; };
          in
          lib.optional (item ? postgres) (claim "postgres" item.postgres.database)
          ++ lib.optional (item ? mysql) (claim "mysql" item.mysql.database)
          ++ lib.optional (item ? redis) (claim "redis" item.redis.instance)
          ++ lib.optional (item ? bucket) (claim "bucket" item.bucket.bucket)
          ++ lib.optional (item ? directory) (claim "directory" item.directory.path)
          ++ lib.optionals (item ? derived) (map (claim "directory") item.derived.paths)
        ) state.items
      )
    ) cfg.state
  );
  ofKind = kind: lib.filter (claim: claim.kind == kind) claims;

  services = lib.filterAttrs (_: unit: unit.enable) config.systemd.services;

  stateDirectories = lib.unique (
    lib.concatLists (
      lib.mapAttrsToList (
        _: unit:
        map (word: "/var/lib/${lib.head (lib.splitString ":" word)}") (
          fedi.units.words (unit.serviceConfig.StateDirectory or [ ])
        )
      ) services
    )
  );

  # `d /var/lib/x ...` in tmpfiles makes a state directory too.
  tmpfiles = lib.concatMap (
    rule:
    let
      words = fedi.units.words (lib.replaceStrings [ "'" "\"" ] [ "" "" ] rule);
      path = lib.removeSuffix "/" (lib.elemAt words 1);
    in
    lib.optional (
      lib.length words > 1
      && lib.elem (lib.substring 0 1 (lib.head words)) [
        "d"
        "D"
        "q"
        "v"
      ]
      && lib.hasPrefix "/var/lib/" path
    ) path
  ) config.systemd.tmpfiles.rules;

  homes = lib.filter (lib.hasPrefix "/var/lib/") (
    lib.mapAttrsToList (_: user: user.home) (
      lib.filterAttrs (_: user: user.createHome) config.users.users
    )
  );

  isWithin = folder: path: path == folder || lib.hasPrefix "${folder}/" path;

  ignored = kind: key: cfg.ignore ? "${kind}:${key}";
  ignoredFolder =
    path:
    lib.any (
      entry: lib.hasPrefix "directory:" entry && isWithin (lib.removePrefix "directory:" entry) path
    ) (lib.attrNames cfg.ignore);

  folders = lib.unique (stateDirectories ++ tmpfiles ++ homes);
  unclaimedFolders = lib.filter (
    path: !ignoredFolder path && !lib.any (claim: isWithin claim.key path) (ofKind "directory")
  ) folders;

  exist = {
    postgres = lib.unique (
      lib.optionals config.services.postgresql.enable config.services.postgresql.ensureDatabases
      ++ lib.attrNames cfg.database
    );
    mysql = lib.optionals config.services.mysql.enable config.services.mysql.ensureDatabases;
    redis = lib.attrNames (lib.filterAttrs (_: server: server.enable) config.services.redis.servers);
    bucket = cfg.buckets;
  };
  unclaimed = lib.concatLists (
    lib.mapAttrsToList (
      kind: keys:
      map (key: "${kind}:${key}") (
        lib.filter (key: !ignored kind key && !lib.any (claim: claim.key == key) (ofKind kind)) keys
      )
    ) exist
  );
  # An item that claims what does not exist is as wrong: a renamed database.
  dangling = lib.concatMap (
    kind:
    map (claim: "${claim.label} (${kind} ${claim.key})") (
      lib.filter (claim: !lib.elem claim.key exist.${kind}) (ofKind kind)
    )
  ) (lib.attrNames exist);

  twice =
    lib.concatLists (
      lib.mapAttrsToList (
        key: same: lib.optional (lib.length same > 1) "${key} by ${list (map (claim: claim.label) same)}"
      ) (lib.groupBy (claim: "${claim.kind}:${claim.key}") claims)
    )
    ++ lib.concatMap (
      outer:
      map (inner: "directory:${inner.key} by ${outer.label} and ${inner.label}") (
        lib.filter (
          inner: inner.key != outer.key && isWithin outer.key inner.key && !excludes outer inner
        ) (ofKind "directory")
      )
    ) (ofKind "directory");
  # A folder below another is fine when the outer item leaves it out.
  excludes =
    outer: inner:
    let
      name = lib.removePrefix "${outer.key}/" inner.key;
      path = lib.splitString "." outer.label;
      item = cfg.state.${lib.head path}.items.${lib.concatStringsSep "." (lib.tail path)};
    in
    lib.any (
      pattern:
      let
        prefix = lib.removeSuffix "/" (lib.removeSuffix "/**" (lib.removePrefix "/" pattern));
      in
      isWithin prefix name
    ) (item.directory.exclude or [ ]);

  # A unit that reads from the secrets' folder what nobody declares.
  declared = lib.concatMap (lib.mapAttrsToList (_: it: it.path)) (lib.attrValues cfg.secret);
  readBy =
    unit:
    map (lib.removePrefix "-") (fedi.units.words (unit.serviceConfig.EnvironmentFile or [ ]))
    ++ map (word: lib.last (lib.splitString ":" word)) (
      fedi.units.words (unit.serviceConfig.LoadCredential or [ ])
    );
  undeclared = lib.concatLists (
    lib.mapAttrsToList (
      name: unit:
      map (path: "${path} (read by ${name}.service)") (
        lib.filter (path: lib.hasPrefix "${cfg.secretDirectory}/" path && !lib.elem path declared) (
          readBy unit
        )
      )
    ) services
  );
in
{
  options.fedi.contracts = {
    ignore = mkOption {
      type = types.attrsOf types.str;
      default = { };
      example = {
        "directory:/var/lib/example" = "Fetched again at every start.";
      };
      description = ''
        State that no item claims, with the reason why it needs none. Keys are
        `directory:<path>` (and everything below it), `postgres:<database>`,
        `mysql:<database>`, `redis:<instance>` and `bucket:<name>`.
      '';
    };
    buckets = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = "Every bucket that something on this guest writes to.";
    };
  };

  config = {
    # What nixpkgs keeps below /var/lib on any guest, and why no item claims it.
    fedi.contracts.ignore = lib.mapAttrs (_: lib.mkDefault) (
      {
        "directory:/var/lib/postgresql" =
          "Claimed database by database: a cluster's files do not move between versions.";
        "directory:/var/lib/fedi" =
          "The lease and the delivered secrets belong to fedi, which carries them itself.";
        "directory:/var/lib/systemd" =
          "Timers' stamps, the random seed and the clock are the machine's own.";
        "directory:/var/lib/nixos" = "User numbers are the machine's own; files are restored by name.";
        "directory:/var/lib/cloud" = "cloud-init's record of this very machine.";
        "directory:/var/lib/logrotate" = "When logs were last rotated on this machine.";
        "directory:/var/lib/lastlog" = "Who logged in to this very machine.";
        "directory:/var/lib/dbus" = "The machine's own id.";
        "directory:/var/lib/private" = "Behind the links that other entries name.";
      }
      // lib.optionalAttrs config.services.mysql.enable {
        "directory:${config.services.mysql.dataDir}" = "Claimed database by database, as dumps.";
      }
      // lib.mapAttrs' (
        name: _:
        lib.nameValuePair "directory:/var/lib/${if name == "" then "redis" else "redis-${name}"}" "Claimed instance by instance, as the RDB file."
      ) (lib.filterAttrs (_: server: server.enable) config.services.redis.servers)
    );

    assertions = lib.mkIf (cfg.state != { }) [
      {
        assertion = unclaimedFolders == [ ];
        message = ''
          No item of fedi.contracts.state claims ${list unclaimedFolders}: it would be in no backup.
          Claim it as a `directory`, or give a reason in fedi.contracts.ignore."directory:<path>".
        '';
      }
      {
        assertion = unclaimed == [ ];
        message = ''
          No item of fedi.contracts.state claims ${list unclaimed}: it would be in no backup.
          Claim it, or give a reason in fedi.contracts.ignore.
        '';
      }
      {
        assertion = dangling == [ ];
        message = "Items claim what this guest does not have: ${list dangling}.";
      }
      {
        assertion = twice == [ ];
        message = "State is claimed more than once: ${list twice}.";
      }
      {
        assertion = lib.all (reason: lib.stringLength reason >= 10) (lib.attrValues cfg.ignore);
        message = "fedi.contracts.ignore needs a reason for each entry.";
      }
      {
        assertion = undeclared == [ ];
        message = "Secrets that fedi.contracts.secret does not declare: ${list undeclared}.";
      }
    ];
  };
}
