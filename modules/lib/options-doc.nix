# docs/options.md: the reference of fedi's own options, from the modules themselves.
{ lib, fedi }:
let
  code = text: "`${text}`";

  show =
    value:
    let
      text = lib.generators.toPretty { multiline = false; } value;
    in
    code text;

  default =
    record:
    if record.default == null then
      "required"
    else if record.default ? text then
      "default ${code record.default.text}"
    else
      "default ${show record.default.value}";

  effect = {
    none = [ ];
    reload = [ "reloads" ];
    restart = [ ];
    immutable = [ "**never changes**" ];
  };

  entry =
    prefix: record:
    let
      meta = record.meta;
      facts = [
        record.typeText
        (default record)
      ]
      ++ lib.optional (record.example != null) "for example ${show record.example}"
      ++ lib.optionals (meta != null) (
        lib.optional (meta.level == "advanced") "advanced" ++ effect.${meta.restart}
      )
      ++ lib.optional record.readOnly "read-only";
    in
    ''
      #### `${lib.removePrefix prefix record.name}`

      ${lib.optionalString (meta != null) "**${meta.title}.** "}${
        lib.concatStringsSep " " (
          lib.filter (line: line != "") (lib.splitString "\n" (lib.trim (plainText record.description)))
        )
      }

      *${lib.concatStringsSep "; " facts}*
    '';

  # nixpkgs' Markdown roles as plain code.
  plainText = lib.replaceStrings [ "{option}`" ] [ "`" ];

  section =
    records:
    {
      title,
      intro,
      prefix,
    }:
    let
      chosen = lib.filter (
        record: lib.hasPrefix prefix record.name && record.visible == true && !record.internal
      ) records;
      groups = lib.groupBy (record: if record.meta == null then "" else record.meta.group) chosen;
      order = lib.unique (map (record: if record.meta == null then "" else record.meta.group) chosen);
    in
    ''
      ## ${title}

      ${intro} All names below begin with `${prefix}`.

    ''
    + lib.concatMapStringsSep "\n" (
      group:
      lib.optionalString (group != "") "### ${group}\n\n"
      + lib.concatMapStringsSep "\n" (entry prefix) groups.${group}
    ) order;
in
{
  options,
  sections,
}:
let
  records = fedi.optionRecords { inherit options; };
in
''
  <!-- Made by tests/nix/run --update from the modules; do not edit. -->
  # Options

  What a deployment can set. In `hosts/<host>/deployments/<name>.toml` the options of the
  application stand under `[settings]`, without the `fedi.apps.<app>.` in front; in the
  optional `<name>.nix` beside it they have their full names, and every option of nixpkgs
  can be set as well.

''
+ lib.concatMapStringsSep "\n" (section records) sections
