# Clan, both ways: `clan.core.state.<name>` (folders, and shell around a backup) and
# `clan.core.postgresql.databases` (git.clan.lol/clan/clan-core,
# nixosModules/clanCore/{state,postgresql}).
#
# out: clan.core.state = config.fedi.compat.clan.out.state;
#      clan.core.postgresql.databases = config.fedi.compat.clan.out.databases;
# in:  fedi.compat.clan.in.garage = config.clan.core.state.garage;
{ lib, config, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.fedi.compat.clan;

  scripts = [
    "preBackupScript"
    "postBackupScript"
    "preRestoreScript"
    "postRestoreScript"
  ];

  # `/var/lib/garage/meta` -> `meta`; the whole path where two end alike.
  itemName =
    folders: path:
    let
      short = baseNameOf path;
      clashes = lib.count (other: baseNameOf other == short) folders > 1;
      whole = lib.replaceStrings [ "/" ] [ "-" ] (lib.removePrefix "/" path);
    in
    if clashes then whole else short;

  itemsOf =
    kind: state:
    map (item: item.${kind}) (lib.filter (item: item ? ${kind}) (lib.attrValues state.items));
in
{
  options.fedi.compat.clan = {
    out = mkOption {
      type = types.attrsOf types.raw;
      readOnly = true;
      description = "Every application's folders and databases as Clan declares them.";
    };
    "in" = mkOption {
      default = { };
      description = "Entries of `clan.core.state` that fedi is to carry, by application.";
      type = types.attrsOf (
        types.submodule {
          # Clan adds names of its own to each entry.
          freeformType = types.attrsOf types.anything;
          options = {
            folders = mkOption {
              type = types.listOf types.str;
              default = [ ];
              description = "The folders; each becomes an item.";
            };
            owner = mkOption {
              type = types.str;
              default = "root";
              description = "What Clan does not say: who owns the folders.";
            };
          }
          // lib.genAttrs scripts (
            _:
            mkOption {
              type = types.nullOr types.lines;
              default = null;
              description = "Shell that fedi does not run.";
            }
          );
        }
      );
    };
  };

  config = {
    fedi.compat.clan.out = {
      state = lib.mapAttrs' (
        app: state:
        lib.nameValuePair "fedi-${app}" {
          folders = map (it: it.path) (itemsOf "directory" state);
          # A restore over a running application corrupts it.
          preRestoreScript = "systemctl stop ${state.gate}";
          postRestoreScript = "systemctl start ${state.gate}";
        }
      ) config.fedi.contracts.state;
      databases = lib.concatMapAttrs (
        _: state:
        lib.listToAttrs (
          map (
            it:
            lib.nameValuePair it.database {
              create = {
                # The database is fedi's or nixpkgs' to make.
                enable = false;
                options = {
                  ENCODING = it.encoding;
                  OWNER = it.owner;
                }
                // lib.optionalAttrs (it.locale != null) {
                  LC_COLLATE = it.locale;
                  LC_CTYPE = it.locale;
                };
              };
              restore.stopOnRestore = [ state.gate ];
            }
          ) (itemsOf "postgres" state)
        )
      ) config.fedi.contracts.state;
    };

    fedi.contracts.state = lib.mapAttrs (_: it: {
      items = lib.listToAttrs (
        map (
          path:
          lib.nameValuePair (itemName it.folders path) {
            directory = {
              inherit path;
              inherit (it) owner;
            };
          }
        ) it.folders
      );
    }) cfg."in";

    assertions = lib.concatLists (
      lib.mapAttrsToList (
        app: it:
        map (script: {
          assertion = it.${script} == null;
          message = "fedi.compat.clan.in.${app} brings a ${script}, which fedi does not run: make it a systemd unit and name it in fedi.contracts.state.${app}.hooks.";
        }) scripts
      ) cfg."in"
    );
  };
}
