# The option extractor: every option of an evaluated option set as plain data, for forms,
# references and the comparison of two versions.
#
# Total: it never throws. What Nix can catch is caught, types that are not known become
# `opaque`, and types that contain themselves are cut. Nix cannot catch every error (a
# missing attribute in a computed default); `evaluateDefaults = false` takes default texts
# only and then nothing of the modules' own code runs but their types.
{ lib }:
let
  attempt =
    fallback: value:
    let
      tried = builtins.tryEval (builtins.deepSeq value value);
    in
    if tried.success then tried.value else fallback;

  # The same without looking inside.
  attemptHead =
    fallback: value:
    let
      tried = builtins.tryEval value;
    in
    if tried.success then tried.value else fallback;

  # A value as data: functions and derivations by name, nothing followed for ever.
  plain =
    depth: value:
    if depth == 0 then
      "…"
    else if lib.isDerivation value then
      "<derivation ${attempt "?" (value.name or "?")}>"
    else if lib.isFunction value then
      "<function>"
    else if lib.isAttrs value then
      if value ? _type then
        value.text or "<${value._type}>"
      else
        lib.mapAttrs (_: plain (depth - 1)) value
    else if lib.isList value then
      map (plain (depth - 1)) value
    else if builtins.isPath value then
      toString value
    else if lib.isString value then
      builtins.unsafeDiscardStringContext value
    else
      value;

  # The pattern of `strMatching`, which stays in the type's name.
  patternOf =
    name:
    let
      found = builtins.match ''strMatching "(.*)"'' name;
    in
    if found == null then null else lib.replaceStrings [ "\\\\" "\\\"" ] [ "\\" "\"" ] (lib.head found);

  # The bounds of an integer, which stay in the type's description.
  boundsOf =
    description:
    let
      between = builtins.match ".*between (-?[0-9]+) and (-?[0-9]+).*" description;
      positive = builtins.match ".*positive integer, meaning >0.*" description;
      unsigned = builtins.match ".*unsigned integer, meaning >=0.*" description;
    in
    if between != null then
      {
        minimum = lib.toIntBase10 (lib.head between);
        maximum = lib.toIntBase10 (lib.last between);
      }
    else if positive != null then
      { minimum = 1; }
    else if unsigned != null then
      { minimum = 0; }
    else
      { };

  integers = [
    "int"
    "positiveInt"
    "unsignedInt"
    "unsignedInt8"
    "unsignedInt16"
    "unsignedInt32"
    "signedInt8"
    "signedInt16"
    "signedInt32"
    "intBetween"
  ];
  texts = [
    "str"
    "string"
    "nonEmptyStr"
    "singleLineStr"
    "separatedString"
    "passwdEntry str"
  ];
  anythings = [
    "anything"
    "attrs"
    "deferredModule"
    "raw"
    "unspecified"
    "optionType"
    "luaInline"
  ];

  # A type as a tree. `trail` is what lies above it: a type that is met again on its own
  # trail contains itself.
  tree =
    depth: trail: type:
    let
      name = attempt "" (type.name or "");
      description = attempt "" (type.description or "");
      nested = attempt { } (lib.mapAttrs (_: _: true) (type.nestedTypes or { }));
      inner = key: tree (depth - 1) (trail ++ [ name ]) type.nestedTypes.${key};
      has = key: nested ? ${key};
      payload = type.functor.payload or null;
    in
    if !(builtins.tryEval type).success || !lib.isAttrs type || type._type or null != "option-type" then
      { kind = "opaque"; }
    else if depth == 0 then
      {
        kind = "cut";
        inherit name;
      }
    else if lib.elem name integers then
      { kind = "integer"; } // boundsOf description
    else if name == "bool" || name == "boolByOr" then
      { kind = "boolean"; }
    else if name == "float" || name == "numberBetween" then
      { kind = "number"; } // boundsOf description
    else if patternOf name != null then
      {
        kind = "text";
        pattern = patternOf name;
        inherit description;
      }
    else if lib.elem name texts then
      {
        kind = "text";
        multiline = name == "separatedString";
        nonEmpty = name == "nonEmptyStr";
      }
    else if name == "path" || name == "pathInStore" then
      {
        kind = "path";
        inStore = attempt null (payload.inStore or null);
      }
    else if name == "package" || name == "shellPackage" then
      { kind = "package"; }
    else if name == "enum" then
      {
        kind = "enum";
        values = attempt [ ] (plain 3 (payload.values or payload));
      }
    else if name == "nullOr" && has "elemType" then
      {
        kind = "nullable";
        of = inner "elemType";
      }
    else if
      lib.elem name [
        "uniq"
        "unique"
      ]
      && has "elemType"
    then
      inner "elemType"
    else if (name == "listOf" || lib.hasPrefix "nonEmptyListOf" name) && has "elemType" then
      {
        kind = "list";
        of = inner "elemType";
      }
    else if
      lib.elem name [
        "attrsOf"
        "lazyAttrsOf"
        "attrsWith"
      ]
      && has "elemType"
    then
      {
        kind = "map";
        of = inner "elemType";
      }
    else if name == "either" && has "left" && has "right" then
      {
        kind = "union";
        of = lib.concatMap (branch: if branch.kind == "union" then branch.of else [ branch ]) [
          (inner "left")
          (inner "right")
        ];
      }
    else if name == "coercedTo" && has "finalType" then
      {
        kind = "coerced";
        from = inner "coercedType";
        to = inner "finalType";
      }
    else if name == "functionTo" then
      { kind = "function"; }
    else if name == "attrTag" then
      {
        kind = "tagged";
        of = attempt { } (
          lib.mapAttrs (_: option: tree (depth - 1) (trail ++ [ name ]) option.type) payload.tags
        );
      }
    else if name == "submodule" then
      {
        kind = "submodule";
        # Its options are records of their own, below this one.
        freeform =
          if has "freeformType" then
            tree (depth - 1) (trail ++ [ name ]) type.nestedTypes.freeformType
          else
            null;
      }
    else if lib.elem name anythings then
      { kind = "anything"; }
    else
      {
        kind = "opaque";
        inherit name description;
      };

  # Whether a type leads to options below it, and under which placeholder.
  below =
    type: loc:
    if !(builtins.tryEval type).success || !lib.isAttrs type then { } else belowType type loc;
  belowType =
    type: loc:
    let
      name = attempt "" (type.name or "");
      nested = key: attempt false (type.nestedTypes ? ${key});
      sub = attemptHead { } (
        let
          options = type.getSubOptions loc;
        in
        builtins.seq (lib.attrNames options) options
      );
      # Never followed: a recursive type has no end there.
      skipped = lib.elem name [
        "either"
        "coercedTo"
      ];
    in
    if skipped || !(nested "elemType" || name == "submodule" || name == "attrTag") then { } else sub;

  # What nixpkgs' rename helpers leave behind in an option (method B).
  markerOf =
    option:
    let
      description = attempt null (
        let
          text = option.description or null;
        in
        if lib.isAttrs text then text.text or null else text
      );
      alias =
        if lib.isString description then
          builtins.match "Alias of \\{option}`([^`]*)`\\.?" description
        else
          null;
      hidden = attempt true (option.visible or true) == false;
      typeName = attempt "" (option.type.name or "");
    in
    if alias != null then
      {
        kind = if hidden then "renamed" else "alias";
        to = lib.head alias;
      }
    else if hidden && attempt null (option.default or null) == "_mkMergedOptionModule" then
      { kind = "merged"; }
    else if hidden && typeName == "unspecified" && !(option ? default) && option ? apply then
      { kind = "removed"; }
    else
      null;

  record =
    evaluateDefaults: option:
    let
      loc = option.loc or [ ];
      default =
        if option ? defaultText then
          { text = attempt "?" (plain 4 option.defaultText); }
        else if !(option ? default) then
          null
        else if !evaluateDefaults then
          { text = "?"; }
        else
          attempt { text = "?"; } { value = plain 5 option.default; };
      marker = markerOf option;
    in
    {
      path = map toString loc;
      name = lib.showOption (map toString loc);
      type = tree 8 [ ] (option.type or { });
      typeText = attempt "?" (
        if isRecursive (option.type or { }) then "?" else option.type.description or "?"
      );
      inherit default marker;
      description = attempt "" (
        let
          text = option.description or "";
        in
        if lib.isAttrs text then text.text or "" else toString text
      );
      example = if option ? example then attempt null (plain 5 option.example) else null;
      visible = attempt true (option.visible or true);
      internal = attempt false (option.internal or false);
      readOnly = attempt false (option.readOnly or false);
      meta = attempt null (option.meta or null);
      id = attempt null (option.meta.id or null);
      declarations = attempt [ ] (map toString (option.declarations or [ ]));
    };

  # Whether a type contains itself: then its description may have no end.
  isRecursive =
    type:
    let
      children =
        node:
        (if node.kind == "tagged" then lib.attrValues node.of else lib.toList (node.of or [ ]))
        ++ lib.filter (child: child != null) [
          (node.from or null)
          (node.to or null)
          (node.freeform or null)
        ];
      cut = node: node.kind == "cut" || lib.any cut (children node);
    in
    cut (tree 8 [ ] type);

  walk =
    {
      evaluateDefaults,
      depth,
    }:
    loc: set:
    lib.concatLists (
      lib.mapAttrsToList (
        name: value:
        if lib.hasPrefix "_" name then
          [ ]
        else if !(builtins.tryEval value).success then
          # Not even the option itself can be had: say that it is there.
          [
            (record evaluateDefaults {
              loc = loc ++ [ name ];
              type = null;
            })
          ]
        else if !lib.isAttrs value then
          [ ]
        else if value._type or null == "option" then
          [ (record evaluateDefaults value) ]
          ++ lib.optionals (depth > 0) (
            walk {
              inherit evaluateDefaults;
              depth = depth - 1;
            } (value.loc or [ ]) (below (value.type or { }) (value.loc or [ ]))
          )
        else if value ? _type then
          [ ]
        else
          walk { inherit evaluateDefaults depth; } (loc ++ [ name ]) value
      ) set
    );

  # Method A: nixpkgs' rename helpers, made to write down what they do. The modules have
  # to be evaluated with the returned `lib` (`specialArgs.lib`) and the returned module.
  instrument =
    plainLib:
    let
      noting =
        note: module:
        { options, ... }:
        {
          imports = [ module ];
          # Not inside submodules: there is no such option.
          config = plainLib.optionalAttrs (options ? fediMarkers) { fediMarkers = plainLib.toList note; };
        };
      helpers = old: {
        mkRenamedOptionModule =
          from: to:
          noting {
            kind = "renamed";
            inherit from to;
          } (old.mkRenamedOptionModule from to);
        mkRenamedOptionModuleWith =
          {
            from,
            to,
            sinceRelease,
          }@arguments:
          noting {
            kind = "renamed";
            inherit from to sinceRelease;
          } (old.mkRenamedOptionModuleWith arguments);
        mkAliasOptionModule =
          from: to:
          noting {
            kind = "alias";
            inherit from to;
          } (old.mkAliasOptionModule from to);
        mkRemovedOptionModule =
          from: message:
          noting {
            kind = "removed";
            inherit from message;
          } (old.mkRemovedOptionModule from message);
        mkChangedOptionModule =
          from: to: change:
          noting {
            kind = "merged";
            inherit from to;
          } (old.mkChangedOptionModule from to change);
        mkMergedOptionModule =
          from: to: merge:
          noting (map (path: {
            kind = "merged";
            from = path;
            inherit to;
          }) from) (old.mkMergedOptionModule from to merge);
      };
    in
    {
      # The originals: in an extended lib each refers to the extended one again.
      lib = plainLib.extend (_: old: helpers plainLib // { modules = old.modules // helpers plainLib; });
      module.options.fediMarkers = plainLib.mkOption {
        type = plainLib.types.listOf plainLib.types.raw;
        default = [ ];
        internal = true;
        visible = false;
      };
    };

  # Where the two methods disagree: what one saw and the other did not.
  crossCheck =
    { records, markers }:
    let
      post = lib.listToAttrs (
        map (it: lib.nameValuePair it.name it.marker) (lib.filter (it: it.marker != null) records)
      );
      name = path: lib.showOption path;
      missed = lib.filter (
        marker:
        let
          found = post.${name marker.from} or null;
        in
        found == null || found.kind != marker.kind || (found ? to && found.to != name marker.to)
      ) markers;
      noted = map (marker: name marker.from) markers;
    in
    {
      onlyInstrumented = map (marker: "${name marker.from} (${marker.kind})") missed;
      onlyPostHoc = map (it: "${it} (${post.${it}.kind})") (lib.subtractLists noted (lib.attrNames post));
    };
in
{
  # `optionRecords { options = (lib.evalModules { ... }).options; }`
  optionRecords =
    {
      options,
      evaluateDefaults ? true,
      depth ? 6,
    }:
    walk { inherit evaluateDefaults depth; } [ ] options;
  inherit instrument crossCheck;
}
