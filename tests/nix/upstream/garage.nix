# services.garage.
# nixpkgs 4aa6836a648ca76c68866decf0c8965e36ec2a3b, nixos/modules/services/web-servers/garage.nix
{
  lib,
  config,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  option = type: default: mkOption { inherit type default; };
  cfg = config.services.garage;
  isDefault = lib.hasPrefix "/var/lib/garage";
  paths = [
    cfg.settings.metadata_dir
  ]
  ++ (
    if lib.isList cfg.settings.data_dir then
      map (entry: entry.path) cfg.settings.data_dir
    else
      [ cfg.settings.data_dir ]
  );
in
{
  options.services.garage = {
    enable = option types.bool false;
    # No default: a major version has to be chosen.
    package = mkOption { type = types.package; };
    environmentFile = option (types.nullOr types.path) null;
    extraEnvironment = option (types.attrsOf types.str) { };
    logLevel = option (types.enum [
      "error"
      "warn"
      "info"
      "debug"
      "trace"
    ]) "info";
    settings = mkOption {
      type = types.submodule {
        freeformType = types.attrsOf (pkgs.formats.toml { }).type;
        options = {
          metadata_dir = option types.path "/var/lib/garage/meta";
          data_dir = option (types.either types.path (types.listOf types.attrs)) "/var/lib/garage/data";
        };
      };
    };
  };

  config = lib.mkIf cfg.enable {
    systemd.services.garage = {
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-online.target" ];
      after = [ "network-online.target" ];
      environment = cfg.extraEnvironment;
      serviceConfig = {
        ExecStart = "${cfg.package}/bin/garage server";
        DynamicUser = lib.mkDefault true;
        StateDirectory = lib.mkIf (lib.any isDefault paths) "garage";
        ReadWritePaths = lib.filter (path: !isDefault path) paths;
        EnvironmentFile = lib.optional (cfg.environmentFile != null) cfg.environmentFile;
      };
    };
  };
}
