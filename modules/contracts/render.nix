# `fedi.contracts.render.<app>.<file>`: files that an application reads and that are put
# together from delivered secrets: environment files, or JSON (which YAML readers take).
# One gated oneshot writes them below /run, so they are gone with the power.
#
# jq reads the secrets from their files: no value is ever in an argument list.
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

  folder = app: "/run/fedi/${app}";
  unit = app: "fedi-${app}-secrets.service";

  isSecret = value: lib.isAttrs value && value ? secret && lib.isString value.secret;

  # Every secret that a content names.
  secretsIn =
    value:
    if isSecret value then
      [ value.secret ]
    else if lib.isAttrs value then
      lib.concatMap secretsIn (lib.attrValues value)
    else if lib.isList value then
      lib.concatMap secretsIn value
    else
      [ ];

  # The content as a jq expression, each secret a variable.
  toJq =
    names: value:
    if isSecret value then
      let
        variable = "$s${toString (lib.lists.findFirstIndex (name: name == value.secret) 0 names)}";
        plain = "(${variable} | rtrimstr(\"\\n\"))";
      in
      if value ? part then "(${plain} | split(\":\")[${toString value.part}])" else plain
    else if lib.isAttrs value then
      "{${
        lib.concatStringsSep "," (
          lib.mapAttrsToList (name: inner: "${builtins.toJSON name}:${toJq names inner}") value
        )
      }}"
    else if lib.isList value then
      "[${lib.concatMapStringsSep "," (toJq names) value}]"
    else
      builtins.toJSON value;

  # systemd's EnvironmentFile and a shell's `source` agree on this quoting.
  quoted =
    special:
    ''to_entries | map("\(.key)=\"" + (.value | tostring | gsub("(?<c>[${special}])"; "\\\(.c)")) + "\"") | .[]'';

  # An undeclared one is an assertion below.
  pathOf = app: secret: (cfg.secret.${app} or { }).${secret}.path or "/undeclared/${secret}";

  write =
    app: name: file:
    let
      names = lib.unique (secretsIn file.content);
      arguments = lib.imap0 (
        index: secret: "--rawfile s${toString index} ${lib.escapeShellArg (pathOf app secret)}"
      ) names;
      expression = toJq names file.content;
      program =
        {
          json = expression;
          env = "${expression} | ${quoted ''\\\\\"$`''}";
          dotenv = "${expression} | ${quoted ''\\\\\"$''}";
          raw = expression;
        }
        .${file.format};
      flags = if file.format == "json" then "" else "--raw-output";
    in
    ''
      install -m 0600 /dev/null ${folder app}/.${name}
      jq --null-input ${flags} ${lib.concatStringsSep " " arguments} ${lib.escapeShellArg program} > ${folder app}/.${name}
      chown ${file.owner}:${file.group} ${folder app}/.${name}
      chmod ${file.mode} ${folder app}/.${name}
      mv ${folder app}/.${name} ${folder app}/${name}
    '';
in
{
  options.fedi.contracts.render = mkOption {
    default = { };
    description = "Files to put together from secrets at every start.";
    type = types.attrsOf (
      types.attrsOf (
        types.submodule (
          { name, options, ... }:
          {
            options = {
              format = mkOption {
                type = types.enum [
                  "dotenv"
                  "env"
                  "json"
                  "raw"
                ];
                description = ''
                  `env`: `NAME="value"` lines for systemd and shells; `dotenv`: the same for PHP's
                  reader. `json`: one JSON value. `raw`: one text.
                '';
              };
              content = mkOption {
                type = types.anything;
                description = ''
                  What it says. `{ secret = "name"; }` stands for a secret's value,
                  `{ secret = "name"; part = 0; }` for one part of a value with colons.
                '';
              };
              path = mkOption {
                type = types.str;
                readOnly = true;
                default = "${folder (lib.elemAt (lib.reverseList options.path.loc) 2)}/${name}";
                defaultText = lib.literalExpression ''"/run/fedi/<app>/<name>"'';
                description = "Where it lies.";
              };
              owner = mkOption {
                type = types.str;
                default = "root";
                description = "Owner of the file.";
              };
              group = mkOption {
                type = types.str;
                default = "root";
                description = "Group of the file.";
              };
              mode = mkOption {
                type = fedi.types.octalMode;
                default = "0400";
                description = "Mode of the file.";
              };
            };
          }
        )
      )
    );
  };

  config = {
    fedi.contracts.state = lib.mapAttrs (app: _: { units = [ (unit app) ]; }) cfg.render;

    systemd.services = lib.mapAttrs' (
      app: files:
      lib.nameValuePair (lib.removeSuffix ".service" (unit app)) {
        description = "Secret files of ${app}";
        path = [
          pkgs.coreutils
          pkgs.jq
        ];
        script = ''
          set -o pipefail
          umask 077
          install -d -m 0711 /run/fedi ${folder app}
        ''
        + lib.concatStrings (lib.mapAttrsToList (write app) files);
        serviceConfig = {
          Type = "oneshot";
          RemainAfterExit = true;
        };
      }
    ) cfg.render;

    assertions = lib.concatLists (
      lib.mapAttrsToList (
        app: files:
        lib.mapAttrsToList (
          name: file:
          let
            unknown = lib.filter (secret: !(cfg.secret.${app} or { }) ? ${secret}) (secretsIn file.content);
          in
          {
            assertion = unknown == [ ];
            message = "fedi.contracts.render.${app}.${name} names the secret ${lib.concatStringsSep ", " unknown}, which fedi.contracts.secret.${app} does not declare.";
          }
        ) files
      ) cfg.render
    );
  };
}
