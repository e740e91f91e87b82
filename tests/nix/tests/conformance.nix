# The contracts, held by every system that is evaluated: what an application asks for, and
# what it is given for it. An application that is added is held to the same.
{
  lib,
  eval,
  systems,
  ...
}:
let
  configs = lib.mapAttrs (_: eval.evalConfig) systems;
  # One test a contract and system; `body` gives what breaks it.
  everywhere =
    contract: body:
    lib.mapAttrs' (
      name: config:
      lib.nameValuePair "${contract} (${name})" {
        expr = lib.concatLists (lib.mapAttrsToList (body config) config.fedi.manifest.apps);
        expected = [ ];
      }
    ) configs;
  unless = condition: what: lib.optional (!condition) what;

  # `{ <kind> = <content>; }`
  kindOf = item: lib.head (lib.attrNames item);
  contentOf = item: item.${kindOf item};

  # Whether what an item names is there, on the very system that declares it.
  exists = {
    postgres =
      config: item:
      lib.elem item.database config.services.postgresql.ensureDatabases
      || config.fedi.contracts.database ? ${item.database};
    mysql = config: item: lib.elem item.database config.services.mysql.ensureDatabases;
    redis = config: item: config.services.redis.servers.${item.instance}.enable or false;
    bucket = _: item: lib.hasPrefix "http" item.endpoint;
    directory = _: item: lib.hasPrefix "/var/lib/" item.path;
    derived = _: _: true;
  };
  services = config: map (name: "${name}.service") (lib.attrNames config.systemd.services);
in
everywhere "state contract: each item is of one kind, and there" (
  config: app: content:
  lib.concatLists (
    lib.mapAttrsToList (
      name: item:
      unless (
        lib.length (lib.attrNames item) == 1 && exists.${kindOf item} config (contentOf item)
      ) "${app}.${name}"
    ) content.items
  )
)
// everywhere "state contract: the order is the items, once each" (
  _: app: content:
  unless (lib.sort lib.lessThan content.order == lib.attrNames content.items) app
)
// everywhere "state contract: what a bucket is opened with is a secret of the application" (
  _: app: content:
  lib.concatLists (
    lib.mapAttrsToList (
      name: item:
      lib.optionals (item ? bucket) (
        unless (
          content.secrets ? ${item.bucket.accessKey} && content.secrets ? ${item.bucket.secretKey}
        ) "${app}.${name}"
      )
    ) content.items
  )
)
// everywhere "state contract: hooks, gate and units are units of the system" (
  config: app: content:
  let
    all = lib.attrNames (eval.fedi.units.all config.systemd);
    named =
      content.units
      ++ [ content.gate ]
      ++ lib.mapAttrsToList (_: hook: hook.unit) content.hooks
      ++ lib.optional (content ? admin && content.admin != null) content.admin.unit;
  in
  map (unit: "${app}: ${unit}") (lib.subtractLists all named)
)
// everywhere "state contract: endpoints and records are names that the deployment owns" (
  config: app: content:
  map (address: "${app}: ${address}") (
    lib.filter (address: !config.fedi.deployment.owns address) (
      map (it: it.url) content.endpoints ++ map (it: it.name) content.records
    )
  )
)
// everywhere "secret contract: outside the store, for its owner alone, waited for" (
  config: app: content:
  let
    lease = config.systemd.services."fedi-${app}-lease".script;
    optional = secret: secret.generator.operator.optional or false;
  in
  lib.concatLists (
    lib.mapAttrsToList (
      name: secret:
      unless (
        !lib.hasPrefix builtins.storeDir secret.path
        && lib.hasSuffix "0" secret.mode
        && (optional secret || lib.hasInfix "-s ${secret.path} ]" lease)
      ) "${app}.${name}"
    ) content.secrets
  )
)
//
  everywhere
    "secret contract: only the operator gives what a provider made, and nothing else waits for people"
    (
      _: app: content:
      lib.concatLists (
        lib.mapAttrsToList (
          name: secret:
          unless ((secret.class == "provider") == (secret.generator ? operator)) "${app}.${name}"
        ) content.secrets
      )
    )
// everywhere "secret contract: what it protects is an item, and units that restart exist" (
  config: app: content:
  lib.concatLists (
    lib.mapAttrsToList (
      name: secret:
      unless (
        lib.all (item: content.items ? ${item}) secret.protects
        && lib.subtractLists (services config) secret.restartUnits == [ ]
      ) "${app}.${name}"
    ) content.secrets
  )
)
