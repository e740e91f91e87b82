# `fedi.deployment`: which deployment this system is. `lib.mkInventory` fills it in from
# the inventory's files; a system without an inventory sets it by hand.
{ lib, config, ... }:
let
  inherit (lib) mkOption types;
  fedi = import ../lib { inherit lib; };
  cfg = config.fedi.deployment;
  nullable =
    type: description:
    mkOption {
      type = types.nullOr type;
      default = null;
      inherit description;
    };
in
{
  options.fedi.deployment = {
    name = nullable types.str "Name of the deployment; also the guest's host name.";
    host = nullable types.str "The host whose folder the deployment's file is in.";
    domain = nullable fedi.types.domain "The domain that people see.";
    adminEmail = nullable fedi.types.email ''
      Mail address for certificate authorities and for the first administrator.
    '';
    authorizedKeys = mkOption {
      type = types.listOf types.singleLineStr;
      default = [ ];
      description = "SSH public keys that may log in as root: fedi's own and the operator's.";
    };
    domains = mkOption {
      type = types.listOf fedi.types.domain;
      default = [ ];
      description = ''
        Domains that the deployment owns, with all names below them. Applications add
        theirs; public addresses outside are refused.
      '';
    };
    ranVersion = mkOption {
      type = types.attrsOf types.str;
      default = { };
      example = {
        mastodon = "4.5.7";
      };
      description = ''
        The version of each application that last used the state this system will be
        given. fedi sets it when it evaluates a target for a restore or a move: a system
        with an older application is refused, because a schema cannot go back.
      '';
    };
    owns = mkOption {
      type = types.functionTo types.bool;
      readOnly = true;
      internal = true;
      description = "Whether a domain or URL lies in one of the deployment's domains.";
      default =
        address:
        let
          host = lib.head (
            lib.splitString ":" (
              lib.head (lib.splitString "/" (lib.removePrefix "https://" (lib.removePrefix "http://" address)))
            )
          );
        in
        lib.any (domain: host == domain || lib.hasSuffix ".${domain}" host) cfg.domains;
    };
  };

  config = {
    fedi.deployment.domains = lib.optional (cfg.domain != null) cfg.domain;
    networking.hostName = lib.mkIf (cfg.name != null) (lib.mkDefault cfg.name);
    users.users.root.openssh.authorizedKeys.keys = cfg.authorizedKeys;

    assertions = lib.concatLists (
      lib.mapAttrsToList (
        app: version:
        let
          state = config.fedi.contracts.state.${app} or null;
        in
        lib.optionals (state != null) [
          {
            assertion = lib.versionAtLeast state.version version;
            message = "This system has ${app} ${state.version}; its state was last used by ${version}. A schema cannot go back: build the system from a newer nixpkgs.";
          }
          {
            assertion = lib.versionAtLeast version state.upgradesFrom;
            message = "This system has ${app} ${state.version}, which takes over state from ${state.upgradesFrom} on; the state is of ${version}. Upgrade in steps.";
          }
        ]
      ) cfg.ranVersion
    );
  };
}
