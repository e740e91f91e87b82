# `fedi.contracts.state.<app>`: what an application on this guest consists of.
# Backup, restore, clone, drill and migration all work from this one declaration.
{ lib, config, ... }:
let
  inherit (lib) mkOption types;
  fedi = import ../lib { inherit lib; };

  hook = types.nullOr (
    types.submodule {
      options = {
        unit = mkOption {
          type = fedi.types.unit;
          description = "Oneshot unit to start. Never a command line: a unit has a log, a timeout and an exit status.";
        };
        timeout = mkOption {
          type = fedi.types.duration;
          default = "15m";
          description = "Longest time that it may take.";
        };
      };
    }
  );

  text =
    description:
    mkOption {
      type = types.str;
      inherit description;
    };

  recordValue = types.either (types.enum [ "address" ]) (
    types.attrTag {
      cname = mkOption {
        type = fedi.types.domain;
        description = "An alias.";
      };
      txt = text "A text.";
      srv = mkOption {
        description = "A service (RFC 2782).";
        type = types.submodule {
          options = {
            priority = mkOption {
              type = types.ints.u16;
              default = 0;
              description = "Lower is tried first.";
            };
            weight = mkOption {
              type = types.ints.u16;
              default = 0;
              description = "Share among equals.";
            };
            port = mkOption {
              type = types.port;
              description = "TCP or UDP port.";
            };
            target = mkOption {
              type = fedi.types.domain;
              description = "Host.";
            };
          };
        };
      };
      caa = mkOption {
        description = "Who may issue certificates (RFC 8659).";
        type = types.submodule {
          options = {
            flags = mkOption {
              type = types.ints.u8;
              default = 0;
              description = "0, or 128 for critical.";
            };
            tag = mkOption {
              type = types.enum [
                "issue"
                "issuewild"
                "iodef"
              ];
              description = "Which right.";
            };
            value = text "The certificate authority, or a URL.";
          };
        };
      };
      mx = mkOption {
        description = "A mail exchanger.";
        type = types.submodule {
          options = {
            preference = mkOption {
              type = types.ints.u16;
              default = 10;
              description = "Lower is tried first.";
            };
            exchange = mkOption {
              type = fedi.types.domain;
              description = "Host.";
            };
          };
        };
      };
    }
  );

  application =
    { name, ... }:
    {
      options = {
        version = text "Version of the application, as its package has it.";
        upgradesFrom = text "The oldest version whose state this one can take over.";

        gate = mkOption {
          type = fedi.types.unit;
          default = "fedi-${name}.target";
          readOnly = true;
          description = "The target that every unit of the application belongs to.";
        };
        units = mkOption {
          type = types.listOf fedi.types.unit;
          default = [ ];
          description = ''
            Every unit, timer and init oneshot of the application. They start only through
            the gate, and only with the lease.
          '';
        };
        claims = {
          prefixes = mkOption {
            type = types.listOf types.str;
            default = [ name ];
            description = ''
              Beginnings of unit names that belong to the application. A unit that begins so
              and is not listed in `units` is an evaluation error.
            '';
          };
          users = mkOption {
            type = types.listOf types.str;
            default = [ ];
            description = "Users whose units belong to the application.";
          };
          helpers = mkOption {
            type = types.listOf fedi.types.unit;
            default = [ ];
            description = ''
              Units that belong to the application and stay outside the gate, because they
              neither seed, mint nor federate. Nothing may start them at boot but what is
              named here knowingly.
            '';
          };
        };

        items = mkOption {
          type = types.attrsOf (import ./items.nix { inherit lib fedi; });
          default = { };
          description = "The state, by name.";
        };
        order = mkOption {
          type = types.listOf types.str;
          default = [ ];
          description = "Every item once, in the order of restoring.";
        };

        hooks =
          lib.mapAttrs
            (
              _: description:
              mkOption {
                type = hook;
                default = null;
                inherit description;
              }
            )
            {
              quiesce = "Stops taking requests, shows a maintenance page.";
              drain = "Lets queued work run out.";
              rehome = ''
                Makes restored state that of a fenced copy, before its first start: what waits to
                go out to people and servers is gone from it, and so are people's sessions. Only a
                system that cannot pass for the first declares it (see `fence`).
              '';
              upgrade = "Migrates the schema.";
              serve = ''
                Makes state reachable that only the application itself can read and write, such
                as an object store's: started while the application is stopped and its state is
                captured or restored, stopped again afterwards.
              '';
              probe = "Tests the application on the loopback address.";
            };

        fence = mkOption {
          default = null;
          description = ''
            The settings that a copy of this application needs so that it cannot pass for the
            first, where there are such settings. `fedi clone` writes them into the copy's file,
            and refuses a system without {option}`hooks.rehome`.
          '';
          type = types.nullOr (
            types.submodule {
              options = {
                set = mkOption {
                  type = types.attrsOf (
                    types.oneOf [
                      types.bool
                      types.int
                      types.str
                    ]
                  );
                  default = { };
                  description = "Keys below `[settings]`, dotted, and what they have to say.";
                };
                unset = mkOption {
                  type = types.listOf types.str;
                  default = [ ];
                  description = "Keys below `[settings]`, dotted, that must not be there.";
                };
              };
            }
          );
        };

        records = mkOption {
          default = [ ];
          description = "DNS records that the application needs.";
          type = types.listOf (
            types.submodule {
              options = {
                name = mkOption {
                  type = types.strMatching "[a-z0-9_*.-]+";
                  description = "Fully qualified name, without the final dot.";
                };
                value = mkOption {
                  type = recordValue;
                  default = "address";
                  description = "What it says; `address` becomes an A and an AAAA of the guest.";
                };
              };
            }
          );
        };
        endpoints = mkOption {
          default = [ ];
          description = "What must answer from outside for the application to be healthy.";
          type = types.listOf (
            types.submodule {
              options = {
                name = text "Short name for reports.";
                url = mkOption {
                  type = fedi.types.httpUrl;
                  description = "URL on a name that the deployment owns.";
                };
                status = mkOption {
                  type = types.ints.between 100 599;
                  default = 200;
                  description = "The wanted HTTP status.";
                };
                json = mkOption {
                  type = types.nullOr types.str;
                  default = null;
                  description = "A JSON pointer (RFC 6901) that the answer must have.";
                };
                equals = mkOption {
                  type = types.nullOr types.anything;
                  default = null;
                  description = "The value at `json`, where it is known beforehand.";
                };
              };
            }
          );
        };
        admin = mkOption {
          default = null;
          description = "The first administrator's account, where the application has one.";
          type = types.nullOr (
            types.submodule {
              options = {
                unit = mkOption {
                  type = fedi.types.unit;
                  description = "Oneshot that makes the account, and does nothing when it exists.";
                };
                login = text "Login name.";
                password = mkOption {
                  type = fedi.types.secretName;
                  description = "The secret that holds the first password.";
                };
                url = mkOption {
                  type = fedi.types.httpUrl;
                  description = "Where to log in.";
                };
              };
            }
          );
        };
      };
    };

  check =
    app: state:
    let
      items = lib.attrNames state.items;
      secrets = config.fedi.contracts.secret.${app} or { };
      missing = lib.subtractLists state.order items;
      unknown = lib.subtractLists items state.order;
      repeated = lib.filter (name: lib.count (other: other == name) state.order > 1) (
        lib.unique state.order
      );
      names = lib.concatStringsSep ", ";
      buckets = lib.filter (item: item ? bucket) (lib.attrValues state.items);
      keys = lib.concatMap (item: [
        item.bucket.accessKey
        item.bucket.secretKey
      ]) buckets;
      unknownKeys = lib.filter (key: !secrets ? ${key}) keys;
      foreign = lib.filter (
        item: item.bucket.publicBase != null && !config.fedi.deployment.owns item.bucket.publicBase
      ) buckets;
      foreignEndpoints = lib.filter (endpoint: !config.fedi.deployment.owns endpoint.url) state.endpoints;
      at = "fedi.contracts.state.${app}";
    in
    [
      {
        assertion = missing == [ ];
        message = "${at}.order misses ${names missing}: what is not in the order is never restored.";
      }
      {
        assertion = unknown == [ ];
        message = "${at}.order names ${names unknown}, which is no item.";
      }
      {
        assertion = repeated == [ ];
        message = "${at}.order names ${names repeated} more than once.";
      }
      {
        assertion = lib.versionAtLeast state.version state.upgradesFrom;
        message = "${at}: version ${state.version} is older than upgradesFrom ${state.upgradesFrom}.";
      }
      {
        assertion = unknownKeys == [ ];
        message = "${at}: a bucket names the secret ${names unknownKeys}, which fedi.contracts.secret.${app} does not declare.";
      }
      {
        assertion = state.admin == null || secrets ? ${state.admin.password};
        message = "${at}.admin.password names a secret that fedi.contracts.secret.${app} does not declare.";
      }
      {
        assertion = foreign == [ ];
        message = ''
          ${at}: the public media address ${
            names (map (item: item.bucket.publicBase) foreign)
          } is not a name that this deployment owns (${names config.fedi.deployment.domains}).
          Other servers keep media addresses for ever; on somebody else's name they break with the next provider.
        '';
      }
      {
        assertion = foreignEndpoints == [ ];
        message = "${at}.endpoints: ${
          names (map (endpoint: endpoint.url) foreignEndpoints)
        } is not on a name that this deployment owns.";
      }
    ];
in
{
  options.fedi.contracts.state = mkOption {
    type = types.attrsOf (types.submodule application);
    default = { };
    description = "The state of every application on this guest; today exactly one a guest.";
  };

  config.assertions = lib.concatLists (lib.mapAttrsToList check config.fedi.contracts.state);
}
