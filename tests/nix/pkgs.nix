# A stub of nixpkgs' package set: every package that the modules name, as a derivation
# in name only. Versions are examples; what depends on a version is tested by setting it.
{ lib }:
let
  drv =
    name: version: extra:
    {
      type = "derivation";
      pname = name;
      name = "${name}-${version}";
      inherit version;
      outPath = "/nix/store/${lib.substring 0 32 (builtins.hashString "sha256" name)}-${name}-${version}";
      drvPath = "/nix/store/${
        lib.substring 0 32 (builtins.hashString "sha256" name)
      }-${name}-${version}.drv";
      meta.mainProgram = name;
      outputName = "out";
    }
    // extra;

  # A text with the content kept, so that tests can look at it.
  text =
    name: content:
    drv name "0" {
      text = content;
    };

  # What `pkgs.formats.*` gives: a type, and a file made of a value.
  format = typeName: {
    type =
      let
        value =
          lib.types.nullOr (
            lib.types.oneOf [
              lib.types.bool
              lib.types.int
              lib.types.float
              lib.types.str
              lib.types.path
              (lib.types.attrsOf value)
              (lib.types.listOf value)
            ]
          )
          // {
            description = "${typeName} value";
          };
      in
      value;
    generate = name: value: text name (builtins.toJSON value);
  };

  plain = lib.genAttrs [
    "bash"
    "coreutils"
    "curl"
    "findutils"
    "fedi"
    "fedi-guest"
    "gawk"
    "gnugrep"
    "gnused"
    "jq"
    "openssh"
    "openssl"
    "rsync"
    "util-linux"
    "awscli2"
    "postfix"
    "nginx"
    "cargo"
    "clippy"
    "deadnix"
    "nixfmt"
    "nixfmt-tree"
    "rustc"
    "rustfmt"
    "statix"
    "restic"
  ] (name: drv name "1.0" { });
  rustPlatform.buildRustPackage = arguments: drv arguments.pname arguments.version arguments;
  pkgs = plain // packages;
  packages = {
    inherit rustPlatform;
    mastodon = drv "mastodon" "4.6.7" { };
    peertube = drv "peertube" "8.2.4" {
      cli = drv "peertube-cli" "8.2.4" { };
      nodejs = drv "nodejs" "22.0.0" { };
    };
    pixelfed = drv "pixelfed" "0.12.7" { };
    matrix-synapse = drv "matrix-synapse" "1.158.0" {
      plugins.matrix-synapse-s3-storage-provider = drv "matrix-synapse-s3-storage-provider" "1.7.0" { };
    };
    garage_2 = drv "garage" "2.1.0" { };
    garage_1 = drv "garage" "1.3.0" { };
    mariadb = drv "mariadb" "11.4.7" { };
    postgresql_17 = drv "postgresql" "17.6" { };
    postgresql_15 = drv "postgresql" "15.14" { };
    redis = drv "redis" "8.0.3" { };
    php83 = drv "php" "8.3.20" {
      withExtensions =
        choose:
        drv "php-with-extensions" "8.3.20" {
          extensions = choose {
            enabled = [ "curl" ];
            all.ffi = "ffi";
          };
        };
    };
    nix = drv "nix" "2.30.0" { };

    formats = {
      json = _: format "JSON";
      yaml = _: format "YAML 1.1";
      toml = _: format "TOML";
    };
    writeText = text;
    writeShellScript = text;
    writeShellScriptBin = text;
    writeShellApplication = { name, ... }@arguments: text name arguments.text;
    # What builds: the arguments, as a derivation in name only.
    pkgsStatic = { inherit rustPlatform; };
    runCommand =
      name: _: script:
      text name script;
    # The nodes of a VM test are evaluated against the stand-ins; it is not run.
    testers.runNixOSTest =
      test:
      drv "vm-test-${test.name}" "0" {
        inherit (test) testScript;
        nodes = lib.mapAttrs (
          _: node:
          (lib.evalModules {
            modules = [
              ./upstream
              {
                config._module.args = { inherit pkgs; };
                options.virtualisation = lib.mkOption { type = lib.types.attrsOf lib.types.int; };
              }
              node
            ];
          }).config
        ) test.nodes;
      };
    mkShell = arguments: drv "shell" "0" arguments;
    stdenv.hostPlatform.system = "x86_64-linux";
    inherit lib;
  };
in
pkgs
