# Reads an inventory: `fedi.toml`, `hosts/<host>/deployments/<name>.toml` and the optional
# `<name>.nix` beside it. The file formats are the types in
# `orchestrator/fedi-model/src/inventory/`; what is checked here is what Nix uses, by an
# option set whose names are the TOML keys, so that an error names the key.
{ lib, fedi }:
let
  inherit (lib) mkOption types;

  nullOr =
    type:
    mkOption {
      type = types.nullOr type;
      default = null;
    };

  label = types.strMatching "[a-z]([a-z0-9-]{0,38}[a-z0-9])?" // {
    description = "name of lower-case letters, digits and -, at most 40 long";
    descriptionClass = "noun";
  };

  # The options of an application, without the two that stand at the top of the file.
  settingsOf =
    app:
    removeAttrs (import (../../apps + "/${app}/options.nix") { inherit lib fedi; }) [
      "enable"
      "domain"
    ];

  deploymentFile = app: {
    options = {
      app = mkOption { type = types.enum fedi.apps; };
      domain = mkOption { type = fedi.types.domain; };
      resources = {
        cores = nullOr types.ints.positive;
        memory-mib = nullOr types.ints.positive;
        state-gib = nullOr types.ints.positive;
      };
      dns.caa = mkOption {
        type = types.bool;
        default = false;
      };
      admin-email = nullOr fedi.types.email;
      backup = {
        repository = nullOr types.singleLineStr;
        schedule = nullOr types.singleLineStr;
        drill-days = nullOr (types.ints.between 1 65535);
        consistency = nullOr (
          types.enum [
            "live"
            "dump-then-files"
            "quiesced"
          ]
        );
      };
      settings = if lib.elem app fedi.apps then settingsOf app else { };
    };
  };

  # What Nix needs of fedi.toml; the command line checks the rest.
  fediFile = {
    freeformType = types.attrsOf types.anything;
    options = {
      operator.email = nullOr fedi.types.email;
      ssh = mkOption {
        default = { };
        type = types.submodule {
          freeformType = types.attrsOf types.anything;
          options.authorized-keys = mkOption {
            type = types.listOf types.singleLineStr;
            default = [ ];
          };
        };
      };
    };
  };

  # Evaluates all that a file says, and nothing that it does not.
  force =
    raw: evaluated:
    if lib.isAttrs raw && lib.isAttrs evaluated then
      lib.all (name: force raw.${name} evaluated.${name}) (lib.attrNames raw)
    else
      builtins.deepSeq evaluated true;

  checked =
    name: schema: value:
    let
      inherit
        (lib.evalModules {
          modules = [
            schema
            {
              _file = name;
              config = value;
            }
          ];
        })
        config
        ;
    in
    assert force value config;
    config;

  toml =
    root: name:
    builtins.addErrorContext "while reading `${name}` of the inventory" (
      builtins.fromTOML (builtins.readFile (root + "/${name}"))
    );

  # What an inventory has in a folder; files that begin with a dot are an editor's.
  entries =
    kinds: path:
    lib.filter (name: !lib.hasPrefix "." name) (
      lib.attrNames (lib.filterAttrs (_: type: lib.elem type kinds) (builtins.readDir path))
    );
  folders = entries [ "directory" ];
  files = entries [
    "regular"
    "symlink"
  ];

  deploymentsOf =
    root: host:
    let
      folder = "hosts/${host}/deployments";
      found =
        if builtins.pathExists (root + "/${folder}") then
          lib.filter (lib.hasSuffix ".toml") (files (root + "/${folder}"))
        else
          [ ];
    in
    map (
      base:
      let
        name = lib.removeSuffix ".toml" base;
        file = "${folder}/${base}";
        raw = toml root file;
        nix = root + "/${folder}/${name}.nix";
      in
      if !label.check name then
        throw "`${file}`: the file's name is the deployment's, a ${label.description}."
      else
        {
          inherit name host file;
          settings = raw.settings or { };
          content = checked file (deploymentFile (raw.app or "")) raw;
          nix = if builtins.pathExists nix then nix else null;
        }
    ) found;

  # Says which two files have the same.
  noDuplicates =
    what: of: deployments:
    let
      shared = lib.filterAttrs (_: same: lib.length same > 1) (lib.groupBy of deployments);
      say =
        key: same:
        "The ${what} `${key}` is in ${lib.concatMapStringsSep " and in " (it: "`${it.file}`") same}.";
    in
    if shared == { } then
      deployments
    else
      throw (lib.concatStringsSep "\n" (lib.mapAttrsToList say shared));
in
{
  # `{ fedi, deployments }`; deployments by name.
  read =
    root:
    let
      hosts = if builtins.pathExists (root + "/hosts") then folders (root + "/hosts") else [ ];
      deployments = lib.pipe hosts [
        (lib.concatMap (deploymentsOf root))
        (noDuplicates "deployment name" (it: it.name))
        (noDuplicates "domain" (it: it.content.domain))
      ];
    in
    {
      fedi =
        if builtins.pathExists (root + "/fedi.toml") then
          checked "fedi.toml" fediFile (toml root "fedi.toml")
        else
          throw "There is no fedi.toml in ${toString root}: is it an inventory?";
      deployments = lib.listToAttrs (map (it: lib.nameValuePair it.name it) deployments);
    };
}
