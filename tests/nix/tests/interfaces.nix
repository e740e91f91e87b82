# The curated interfaces of the applications: how many options, and what a form needs of
# each.
{ lib, eval, ... }:
let
  own = eval.fedi.optionRecords { inherit (eval.evalModules [ ]) options; };
  apps = lib.filter (record: lib.hasPrefix "fedi.apps." record.name) own;
  ids = map (record: record.id) apps;
in
{
  "every option of an application has form data and a description" = {
    expr = map (record: record.name) (
      lib.filter (record: record.meta == null || record.description == "") apps
    );
    expected = [ ];
  };
  # A form needs each of them; `option` in modules/lib/options.nix leaves none out.
  "every field of the form data says something that a form can show" =
    let
      text = value: lib.isString value && builtins.match "[^[:space:]].*[^[:space:].]" value != null;
      # "garage.buckets.<name>.keys" has the id "garage.buckets.keys".
      idOf =
        record:
        lib.concatStringsSep "." (
          lib.filter (word: builtins.match "<.*>" word == null) (lib.drop 2 record.path)
        );
      checks = {
        id = record: record.meta.id == idOf record && record.id == record.meta.id;
        title =
          record: text record.meta.title && lib.toUpper (first record.meta.title) == first record.meta.title;
        group = record: lib.elem record.meta.group groups;
        level =
          record:
          lib.elem record.meta.level [
            "basic"
            "advanced"
          ];
        widget = record: lib.elem record.meta.widget ([ null ] ++ widgets);
        secret = record: lib.isBool record.meta.secret;
        restart =
          record:
          lib.elem record.meta.restart [
            "none"
            "reload"
            "restart"
            "immutable"
          ];
      };
      first = lib.substring 0 1;
      groups = [
        "Accounts"
        "Buckets"
        "Calls"
        "Features"
        "Federation"
        "General"
        "Mail"
        "Media"
        "S3"
        "Size"
        "Storage"
        "Videos"
      ];
      widgets = [
        "domain"
        "email"
        "list"
        "map"
        "url"
      ];
    in
    {
      expr = {
        fields = lib.unique (map (record: lib.attrNames record.meta) apps);
        wrong = lib.concatMap (
          record:
          map (field: "${record.name}: ${field}") (
            lib.attrNames (lib.filterAttrs (_: holds: !holds record) checks)
          )
        ) apps;
      };
      expected = {
        fields = [ (lib.attrNames checks) ];
        wrong = [ ];
      };
    };
  # Everything secret is delivered by path: no option takes a secret's value.
  "what is said to restart nothing leaves the application's units and settings as they are" =
    let
      systems = import ../systems.nix { inherit lib; };
      # Another value of each such option, and a system in which it counts.
      others = {
        "matrix.admin.login" = {
          system = "matrix-local";
          value.admin.login = "somebody";
        };
        "mastodon.admin.login" = {
          system = "mastodon-local";
          value.admin.login = "somebody";
        };
        "pixelfed.admin.login" = {
          system = "pixelfed-mysql-local";
          value.admin.login = "somebody";
        };
        "mastodon.media.webEndpoint" = {
          system = "mastodon-bucket";
          value.media.webEndpoint = lib.mkForce "https://elsewhere.example.test";
        };
        "peertube.media.webEndpoint" = {
          system = "peertube-bucket";
          value.media.webEndpoint = lib.mkForce "https://elsewhere.example.test";
        };
        "pixelfed.media.webEndpoint" = {
          system = "pixelfed-mysql-bucket";
          value.media.webEndpoint = lib.mkForce "https://elsewhere.example.test";
        };
        "matrix.wellKnown" = {
          system = "matrix-bucket";
          value.wellKnown = "elsewhere";
        };
        "garage.maxUploadSize" = {
          system = "garage-buckets";
          value.maxUploadSize = "1G";
        };
      };
      view =
        app: modules:
        let
          config = eval.evalConfig modules;
          inherit (config) services;
        in
        builtins.toJSON {
          # Without certificates: a name more or less is an order of one.
          units =
            lib.genAttrs
              (lib.filter (
                unit: lib.hasSuffix ".service" unit && !lib.hasPrefix "acme-" unit
              ) config.fedi.contracts.state.${app}.units)
              (
                unit:
                let
                  it = config.systemd.services.${lib.removeSuffix ".service" unit};
                in
                {
                  inherit (it) script environment serviceConfig;
                }
              );
          settings =
            {
              garage = services.garage.settings;
              mastodon = services.mastodon.extraConfig;
              matrix = services.matrix-synapse.settings;
              peertube = services.peertube.settings;
              pixelfed = services.pixelfed.settings;
            }
            .${app};
        };
      changes =
        id:
        let
          app = lib.head (lib.splitString "." id);
          inherit (others.${id}) system value;
        in
        view app [ systems.${system} ] != view app [
          systems.${system}
          { fedi.apps.${app} = value; }
        ];
    in
    {
      expr = {
        tried = lib.attrNames others;
        wrong = lib.filter changes (lib.attrNames others);
      };
      expected = {
        tried = lib.sort lib.lessThan (
          map (record: record.id) (
            lib.filter (
              record:
              lib.elem record.meta.restart [
                "none"
                "reload"
              ]
            ) apps
          )
        );
        wrong = [ ];
      };
    };
  "no option takes a secret" = {
    expr = map (record: record.name) (
      lib.filter (
        record:
        record.meta.secret
        || builtins.match ".*(password|secret|token|privatekey).*" (lib.toLower record.name) != null
      ) apps
    );
    expected = [ ];
  };
  "ids are unique" = {
    expr = lib.attrNames (lib.filterAttrs (_: same: lib.length same > 1) (lib.groupBy (id: id) ids));
    expected = [ ];
  };
  "an application has 15 to 40 options" = {
    expr = lib.filterAttrs (_: count: count < 15 || count > 40) (
      lib.mapAttrs (_: lib.length) (lib.groupBy (record: lib.elemAt record.path 2) apps)
    );
    expected = { };
  };
  "every option of fedi has a description" = {
    expr = map (record: record.name) (
      lib.filter (
        record: lib.hasPrefix "fedi." record.name && record.description == "" && !record.internal
      ) own
    );
    expected = [ ];
  };
}
