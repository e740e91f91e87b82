# The option extractor: total, lossless, and right about renames by both methods.
{ lib, eval, ... }:
let
  inherit (lib) mkOption types;
  inherit (eval) fedi;

  recordsOf = modules: fedi.optionRecords { inherit (lib.evalModules { inherit modules; }) options; };
  one = option: lib.head (recordsOf [ { options.it = option; } ]);
  typeOf =
    type:
    (one (mkOption {
      inherit type;
    })).type;

  recursive = types.nullOr (
    types.oneOf [
      types.int
      (types.listOf recursive)
      (types.attrsOf recursive)
    ]
  );

  # One fixture a rename helper, and the holes.
  fixture =
    l:
    { options, ... }:
    {
      imports = [
        (l.mkRenamedOptionModule [ "old" "name" ] [ "new" "name" ])
        (l.mkRenamedOptionModuleWith {
          from = [ "older" ];
          to = [
            "new"
            "other"
          ];
          sinceRelease = 2511;
        })
        (l.mkAliasOptionModule [ "alias" ] [ "new" "name" ])
        (l.mkRemovedOptionModule [ "gone" ] "Use nothing instead.")
        (l.mkChangedOptionModule [ "level" ] [ "new" "number" ] (config: config.level * 2))
        (l.mkMergedOptionModule
          [
            [ "a" ]
            [ "b" ]
          ]
          [ "new" "list" ]
          (config: [
            config.a
            config.b
          ])
        )
      ];
      options = {
        new = {
          name = mkOption { type = types.str; };
          other = mkOption { type = types.str; };
          number = mkOption { type = types.int; };
          list = mkOption { type = types.listOf types.str; };
        };
        # By hand, as some modules do: no helper, no marker.
        handmade = mkOption {
          type = types.str;
          default = "";
          visible = false;
          description = "Replaced by `new.name`.";
        };
        warnings = mkOption {
          type = types.listOf types.str;
          default = [ ];
        };
        assertions = mkOption {
          type = types.listOf types.unspecified;
          default = [ ];
        };
      };
      config = lib.optionalAttrs (options ? never) { };
    };

  instrumented = fedi.instrument lib;
  evaluated = lib.evalModules {
    modules = [
      instrumented.module
      (fixture instrumented.lib)
    ];
    specialArgs = { inherit (instrumented) lib; };
  };
  fixtureRecords = fedi.optionRecords { inherit (evaluated) options; };
  marked = lib.listToAttrs (
    map (record: lib.nameValuePair record.name record.marker) (
      lib.filter (record: record.marker != null) fixtureRecords
    )
  );

  own = fedi.optionRecords { inherit (eval.evalModules [ ]) options; };
in
{
  "integers keep their bounds" = {
    expr = map typeOf [
      types.port
      (types.ints.between 1 10)
      types.ints.positive
      types.int
    ];
    expected = [
      {
        kind = "integer";
        minimum = 0;
        maximum = 65535;
      }
      {
        kind = "integer";
        minimum = 1;
        maximum = 10;
      }
      {
        kind = "integer";
        minimum = 1;
      }
      { kind = "integer"; }
    ];
  };
  "texts keep their pattern" = {
    expr = (typeOf (types.strMatching "[a-z]+\\.x")).pattern;
    expected = "[a-z]+\\.x";
  };
  "a described type keeps its pattern too" = {
    expr = (typeOf fedi.types.duration).pattern;
    expected = "[0-9]+(s|m|h)";
  };
  "choices keep their values" = {
    expr = typeOf (
      types.enum [
        "a"
        1
        null
      ]
    );
    expected = {
      kind = "enum";
      values = [
        "a"
        1
        null
      ];
    };
  };
  "nesting is followed" = {
    expr = typeOf (types.nullOr (types.listOf (types.attrsOf types.bool)));
    expected = {
      kind = "nullable";
      of = {
        kind = "list";
        of = {
          kind = "map";
          of.kind = "boolean";
        };
      };
    };
  };
  "unions are flat" = {
    expr =
      map (branch: branch.kind)
        (typeOf (
          types.oneOf [
            types.int
            types.str
            types.path
          ]
        )).of;
    expected = [
      "integer"
      "text"
      "path"
    ];
  };
  "tags are branches" = {
    expr =
      (typeOf (
        types.attrTag {
          a = mkOption { type = types.int; };
          b = mkOption { type = types.bool; };
        }
      )).of;
    expected = {
      a.kind = "integer";
      b.kind = "boolean";
    };
  };
  "coercions keep both sides" = {
    expr = typeOf (types.coercedTo types.int toString types.str);
    expected = {
      kind = "coerced";
      from.kind = "integer";
      to = {
        kind = "text";
        multiline = false;
        nonEmpty = false;
      };
    };
  };
  "unknown types are opaque" = {
    expr = typeOf (
      lib.mkOptionType {
        name = "moonPhase";
        description = "phase of the moon";
      }
    );
    expected = {
      kind = "opaque";
      name = "moonPhase";
      description = "phase of the moon";
    };
  };
  "what makes other converters throw does not" = {
    expr = map (type: (typeOf type).kind) [
      types.package
      (types.functionTo types.int)
      types.optionType
      types.raw
      types.deferredModule
      types.unspecified
    ];
    expected = [
      "package"
      "function"
      "anything"
      "anything"
      "anything"
      "anything"
    ];
  };
  "a type that contains itself is cut" = {
    expr = builtins.deepSeq (one (mkOption {
      type = recursive;
    })) true;
    expected = true;
  };
  "a free form that contains itself is cut" = {
    expr = builtins.deepSeq (one (mkOption {
      type = types.submodule { freeformType = types.attrsOf recursive; };
    })) true;
    expected = true;
  };
  "a submodule that contains itself is cut" = {
    expr =
      let
        tree = types.submodule {
          options.children = mkOption {
            type = types.attrsOf tree;
            default = { };
          };
        };
      in
      lib.length (recordsOf [ { options.root = mkOption { type = tree; }; } ]) > 3;
    expected = true;
  };
  "a throwing default is no end" = {
    expr =
      (one (mkOption {
        default = throw "no";
      })).default;
    expected = {
      text = "?";
    };
  };
  "an option that cannot be had at all is still named" = {
    expr =
      let
        record = lib.head (fedi.optionRecords { options.a.b = throw "no"; });
      in
      {
        inherit (record) name;
        inherit (record.type) kind;
      };
    expected = {
      name = "a.b";
      kind = "opaque";
    };
  };
  "a throwing description, example and type are no end" = {
    expr =
      let
        record = lib.head (
          fedi.optionRecords {
            options.it = {
              _type = "option";
              loc = [ "it" ];
              description = throw "no";
              example = throw "no";
              type = throw "no";
              visible = throw "no";
            };
          }
        );
      in
      builtins.deepSeq record record.type.kind;
    expected = "opaque";
  };
  "a default text wins over the default" = {
    expr =
      (one (mkOption {
        default = throw "never looked at";
        defaultText = lib.literalExpression "config.x";
      })).default;
    expected.text = "config.x";
  };
  "functions and derivations are named, not followed" = {
    expr =
      (one (mkOption {
        default = {
          f = x: x;
          d = eval.pkgs.jq;
        };
      })).default.value;
    expected = {
      f = "<function>";
      d = "<derivation jq-1.0>";
    };
  };
  "an option without type, default and description" = {
    expr =
      let
        record = one (mkOption { });
      in
      {
        inherit (record) default description marker;
        inherit (record.type) kind;
      };
    expected = {
      default = null;
      description = "";
      marker = null;
      kind = "anything";
    };
  };
  "form data survive, in submodules as well" = {
    expr = map (record: record.id) (
      lib.filter (record: lib.hasPrefix "fedi.apps.garage.buckets." record.name) own
    );
    expected = [
      "garage.buckets.aliases"
      "garage.buckets.keys"
      "garage.buckets.quotaGib"
      "garage.buckets.website"
    ];
  };
  "renames are found after the fact" = {
    expr = marked;
    expected = {
      "old.name" = {
        kind = "renamed";
        to = "new.name";
      };
      older = {
        kind = "renamed";
        to = "new.other";
      };
      alias = {
        kind = "alias";
        to = "new.name";
      };
      gone.kind = "removed";
      level.kind = "merged";
      a.kind = "merged";
      b.kind = "merged";
    };
  };
  "renames are written down as they happen" = {
    expr = map (marker: {
      inherit (marker) kind;
      from = lib.concatStringsSep "," marker.from;
    }) (lib.sort (a: b: builtins.toJSON a.from < builtins.toJSON b.from) evaluated.config.fediMarkers);
    expected = [
      {
        kind = "merged";
        from = "a";
      }
      {
        kind = "alias";
        from = "alias";
      }
      {
        kind = "merged";
        from = "b";
      }
      {
        kind = "removed";
        from = "gone";
      }
      {
        kind = "merged";
        from = "level";
      }
      {
        kind = "renamed";
        from = "old,name";
      }
      {
        kind = "renamed";
        from = "older";
      }
    ];
  };
  "the text of a removal is known to the instrumented method" = {
    expr = map (marker: marker.message) (
      lib.filter (marker: marker.kind == "removed") evaluated.config.fediMarkers
    );
    expected = [ "Use nothing instead." ];
  };
  "both methods agree" = {
    expr = fedi.crossCheck {
      records = fixtureRecords;
      markers = evaluated.config.fediMarkers;
    };
    expected = {
      onlyInstrumented = [ ];
      onlyPostHoc = [ ];
    };
  };
  "a disagreement is reported" = {
    expr = fedi.crossCheck {
      records = fixtureRecords;
      markers = lib.filter (marker: marker.kind != "removed") evaluated.config.fediMarkers ++ [
        {
          kind = "renamed";
          from = [ "unseen" ];
          to = [ "new" ];
        }
      ];
    };
    expected = {
      onlyInstrumented = [ "unseen (renamed)" ];
      onlyPostHoc = [ "gone (removed)" ];
    };
  };
  "a rename inside a submodule does not break the instrumented method" = {
    expr =
      (lib.evalModules {
        modules = [
          instrumented.module
          {
            options.things = mkOption {
              default = { };
              type = types.attrsOf (
                types.submodule {
                  imports = [ (instrumented.lib.mkAliasOptionModule [ "old" ] [ "new" ]) ];
                  options.new = mkOption { type = types.int; };
                }
              );
            };
            config.things.x.old = 3;
          }
        ];
      }).config.things.x.new;
    expected = 3;
  };
  "the stand-ins' removed options are found" = {
    expr = lib.sort lib.lessThan (
      map (record: record.name) (lib.filter (record: record.marker != null) own)
    );
    expected = [
      "services.mastodon.otpSecretFile"
      "services.mastodon.streamingPort"
    ];
  };
}
