# What the flake builds: the command line, the agent, the guest image, the references.
{
  pkgs,
  root,
  image,
}:
let
  inherit (pkgs) lib;

  build =
    platform: package:
    platform.buildRustPackage {
      pname = package;
      inherit ((lib.importTOML (root + "/orchestrator/Cargo.toml")).workspace.package) version;
      src = lib.fileset.toSource {
        inherit root;
        fileset = root + "/orchestrator";
      };
      sourceRoot = "source/orchestrator";
      cargoLock.lockFile = root + "/orchestrator/Cargo.lock";
      cargoBuildFlags = [
        "--package"
        package
      ];
      # The tests want servers and a sandbox: `make test`.
      doCheck = false;
      meta = {
        description = "Fediverse applications on hypervisors, and free to leave";
        license = lib.licenses.agpl3Plus;
        mainProgram = package;
      };
    };
in
{
  fedi = build pkgs.rustPlatform "fedi";
  # Static, so that it runs on any guest.
  fedi-guest = build pkgs.pkgsStatic.rustPlatform "fedi-guest";
  inherit image;
  docs = pkgs.runCommand "fedi-docs" { } ''
    mkdir -p $out
    cp -r ${root + "/docs"}/. $out
  '';
}
