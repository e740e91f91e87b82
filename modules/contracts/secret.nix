# `fedi.contracts.secret.<app>.<name>`: request and result of a secret. The value never
# enters Nix: fedi makes it, keeps it, and writes it to `path` before anything starts.
{ lib, config, ... }:
let
  inherit (lib) mkOption types;
  fedi = import ../lib { inherit lib; };

  bytes = description: {
    bytes = mkOption {
      type = types.ints.u16;
      inherit description;
    };
  };
  variant =
    description: options:
    mkOption {
      inherit description;
      type = types.submodule { inherit options; };
    };

  generator =
    types.either
      (types.enum [
        "laravelKey"
        "synapseSigningKey"
        "vapid"
        "garageKeyId"
      ])
      (
        types.attrTag {
          hex = variant "Random bytes as lower-case hexadecimal digits." (bytes "Number of random bytes.");
          base64 = variant "Random bytes in base 64 with padding." (bytes "Number of random bytes.");
          base64Url = variant "Random bytes in URL-safe base 64 without padding." (
            bytes "Number of random bytes."
          );
          password = variant "A password for people." {
            length = mkOption {
              type = types.ints.u16;
              description = "Number of characters.";
            };
          };
          rsaPrivateKey = variant "An RSA private key in PKCS #8 PEM." {
            bits = mkOption {
              type = types.enum [
                2048
                3072
                4096
              ];
              description = "Modulus size in bits.";
            };
          };
          rsaPublicKey = variant "The public half of another secret (PEM, SPKI)." {
            of = mkOption {
              type = fedi.types.secretName;
              description = "The private key's name.";
            };
          };
          operator = variant "Nothing fedi can make: the operator sets it." {
            describe = mkOption {
              type = types.str;
              description = "What it is and where to get it, for the message that asks for it.";
            };
            optional = mkOption {
              type = types.bool;
              default = false;
              description = "Whether the deployment can go on without it.";
            };
          };
        }
      );

  secret =
    { name, options, ... }:
    let
      # fedi.contracts.secret.<app>.<name>.path
      app = lib.elemAt (lib.reverseList options.path.loc) 2;
    in
    {
      options = {
        class = mkOption {
          type = types.enum [
            "identity"
            "session"
            "rotatable"
            "provider"
          ];
          description = ''
            `identity`: without it the application is another one, so it is never made anew
            on a restore. `session`: kept; losing it logs people out. `rotatable`: new on a
            new guest. `provider`: belongs to an outside provider and is never carried to
            another.
          '';
        };
        generator = mkOption {
          type = generator;
          description = "How fedi makes it when there is none.";
        };
        path = mkOption {
          type = fedi.types.runtimePath;
          default = "${config.fedi.contracts.secretDirectory}/${app}/${name}";
          defaultText = lib.literalExpression ''"''${config.fedi.contracts.secretDirectory}/<app>/<name>"'';
          description = "The result: where the file lies on the guest.";
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
        protects = mkOption {
          type = types.listOf types.str;
          default = [ ];
          description = "Items that cannot be read without it.";
        };
        restartUnits = mkOption {
          type = types.listOf fedi.types.unit;
          default = [ ];
          description = "Units to restart when it changes.";
        };
      };
    };

  optional = it: it.generator ? operator && it.generator.operator.optional;

  check =
    app: secrets:
    let
      state = config.fedi.contracts.state.${app} or null;
      items = if state == null then [ ] else lib.attrNames state.items;
    in
    [
      {
        assertion = state != null;
        message = "fedi.contracts.secret.${app} declares ${lib.concatStringsSep ", " (lib.attrNames secrets)} for an application that has no fedi.contracts.state.${app}: nobody claims them.";
      }
    ]
    ++ lib.concatLists (
      lib.mapAttrsToList (
        name: it:
        let
          at = "fedi.contracts.secret.${app}.${name}";
        in
        [
          {
            assertion = lib.all (item: lib.elem item items) it.protects;
            message = "${at}.protects names ${lib.concatStringsSep ", " (lib.subtractLists items it.protects)}, which is no item of ${app}.";
          }
          {
            assertion = it.class != "provider" || it.protects == [ ];
            message = "${at} is a provider secret and protects an item: it would have to be carried to another provider, where it is worth nothing. Make it `identity`, or let it protect nothing.";
          }
          {
            assertion = it.class != "provider" || it.generator ? operator;
            message = "${at} is a provider secret, so only the operator can set it; its generator must be `operator`.";
          }
          {
            assertion = it.class != "identity" || !optional it;
            message = "${at} is an identity secret and optional at once.";
          }
          {
            assertion =
              let
                of = it.generator.rsaPublicKey.of or null;
              in
              of == null || (secrets ? ${of} && secrets.${of}.generator ? rsaPrivateKey);
            message = "${at} is the public half of a secret that is no RSA private key.";
          }
          {
            assertion = lib.substring 3 1 it.mode == "0";
            message = "${at}.mode ${it.mode} lets everybody read it.";
          }
        ]
      ) secrets
    );

  all = lib.concatLists (
    lib.mapAttrsToList (
      app: secrets:
      lib.mapAttrsToList (name: it: {
        inherit (it) path;
        label = "${app}/${name}";
      }) secrets
    ) config.fedi.contracts.secret
  );
  shared = lib.filterAttrs (_: list: lib.length list > 1) (lib.groupBy (it: it.path) all);
in
{
  options.fedi.contracts = {
    secretDirectory = mkOption {
      type = fedi.types.runtimePath;
      default = "/var/lib/fedi/secrets";
      description = "Folder that fedi writes secrets below.";
    };
    secret = mkOption {
      default = { };
      description = "The secrets of every application, by application and name.";
      type = types.attrsOf (types.attrsOf (types.submodule secret));
    };
  };

  config = {
    assertions =
      lib.concatLists (lib.mapAttrsToList check config.fedi.contracts.secret)
      ++ lib.mapAttrsToList (path: list: {
        assertion = false;
        message = "The secrets ${
          lib.concatMapStringsSep ", " (it: it.label) list
        } have the same path ${path}.";
      }) shared;

    # The folders can be crossed but not listed. Ownership converges at every boot and
    # activation, whoever wrote the files and whenever the users came to be.
    systemd.tmpfiles.rules =
      let
        folder = config.fedi.contracts.secretDirectory;
      in
      lib.optionals (config.fedi.contracts.secret != { }) (
        [ "d ${folder} 0711 root root - -" ]
        ++ map (app: "d ${folder}/${app} 0711 root root - -") (lib.attrNames config.fedi.contracts.secret)
        ++ lib.concatLists (
          lib.mapAttrsToList (
            _: secrets:
            lib.mapAttrsToList (_: it: "z ${it.path} ${it.mode} ${it.owner} ${it.group} - -") secrets
          ) config.fedi.contracts.secret
        )
      );
  };
}
