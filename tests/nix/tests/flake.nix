# flake.nix, with a stand-in for nixpkgs: its outputs are those that are promised, and
# it is plain and short.
{
  lib,
  eval,
  systems,
  libPath,
  ...
}:
let
  flake = import ../../../flake.nix;
  nixpkgs = eval.nixpkgs // {
    lib = lib // {
      inherit (eval) nixosSystem;
    };
  };
  self = flake.outputs {
    inherit self nixpkgs;
  };
  lock = builtins.fromJSON (builtins.readFile ../../../flake.lock);
  lines = lib.length (lib.splitString "\n" (builtins.readFile ../../../flake.nix)) - 1;
  deployments = lib.concatMap (
    host:
    lib.filter (lib.hasSuffix ".toml") (
      lib.attrNames (builtins.readDir (../../../hosts + "/${host}/deployments"))
    )
  ) (lib.attrNames (builtins.readDir ../../../hosts));
in
{
  "outputs" = {
    expr = lib.attrNames self;
    expected = [
      "checks"
      "devShells"
      "formatter"
      "lib"
      "nixosConfigurations"
      "nixosModules"
      "packages"
      "templates"
    ];
  };
  "modules" = {
    expr = lib.attrNames self.nixosModules;
    expected = [
      "base"
      "contracts"
      "default"
      "garage"
      "guest"
      "mastodon"
      "matrix"
      "peertube"
      "pixelfed"
    ];
  };
  "each module can be used alone" = {
    expr = lib.mapAttrs (
      _: module:
      eval.failed
        (eval.nixosSystem {
          modules = [ module ];
        }).config
    ) self.nixosModules;
    expected = lib.mapAttrs (_: _: [ ]) self.nixosModules;
  };
  "an application's module brings what it stands on" = {
    expr =
      eval.failed
        (eval.nixosSystem {
          modules = [
            self.nixosModules.mastodon
            systems.mastodon-local
          ];
        }).config;
    expected = [ ];
  };
  "a configuration for every deployment" = {
    expr = lib.attrNames self.nixosConfigurations;
    expected = lib.sort lib.lessThan (map (lib.removeSuffix ".toml") deployments);
  };
  "each of them is what `make bench` times" = {
    expr = lib.attrNames (import ../examples.nix { inherit libPath; });
    expected = lib.attrNames self.nixosConfigurations;
  };
  "each of them evaluates through the flake, and holds" = {
    expr = lib.concatMap (system: eval.failed system.config) (lib.attrValues self.nixosConfigurations);
    expected = [ ];
  };
  "the guest gets the agent" = {
    expr = self.nixosConfigurations.matrix.config.fedi.guest.package.pname;
    expected = "fedi-guest";
  };
  "packages" = {
    expr = lib.attrNames self.packages.x86_64-linux;
    expected = [
      "default"
      "docs"
      "fedi"
      "fedi-guest"
      "image"
    ];
  };
  "packages are built from this repository's own lock file" = {
    expr = {
      inherit (self.packages.x86_64-linux.fedi) pname version;
      locked = builtins.pathExists self.packages.x86_64-linux.fedi.cargoLock.lockFile;
    };
    expected = {
      pname = "fedi";
      version = "0.1.0";
      locked = true;
    };
  };
  "the guest image is one file, compressed inside, that boots and grows" = {
    expr = {
      inherit (self.packages.x86_64-linux.image) format label copyChannel;
    };
    expected = {
      format = "qcow2-compressed";
      label = "nixos";
      copyChannel = false;
    };
  };
  "the guest image holds no application, and the agent" =
    let
      inherit
        (
          (eval.nixosSystem {
            modules = [
              self.nixosModules.default
              ../../../modules/guest/image.nix
            ];
          })
        )
        config
        ;
    in
    {
      expr = {
        failed = eval.failed config;
        apps = lib.attrNames config.fedi.manifest.apps;
        agent = lib.any (package: package.pname == "fedi-guest") config.environment.systemPackages;
        grub = config.boot.loader.grub.device;
      };
      expected = {
        failed = [ ];
        apps = [ ];
        agent = true;
        grub = "/dev/vda";
      };
    };
  "checks are the VM tests" = {
    expr = lib.attrNames self.checks.x86_64-linux;
    expected = [
      "garage"
      "guest"
      "mastodon"
      "matrix"
      "peertube"
      "pixelfed"
    ];
  };
  "the nodes of every VM test evaluate, and hold" = {
    expr = lib.mapAttrs (
      _: test: lib.concatMap eval.failed (lib.attrValues test.nodes)
    ) self.checks.x86_64-linux;
    expected = lib.genAttrs (lib.attrNames self.checks.x86_64-linux) (_: [ ]);
  };
  "files and folders that begin with a dot are no part of an inventory" = {
    expr = lib.attrNames (self.lib.mkInventory { root = ../inventories/good; }).nixosConfigurations;
    expected = [ "chat" ];
  };
  "the template is an inventory" = {
    expr = lib.attrNames (
      (self.lib.mkInventory { root = self.templates.inventory.path; }).nixosConfigurations
    );
    expected = [ "matrix" ];
  };
  "the template's flake is ten lines" = {
    expr =
      lib.length (
        lib.filter (line: lib.trim line != "" && !lib.hasPrefix "#" (lib.trim line)) (
          lib.splitString "\n" (builtins.readFile ../../../modules/template/flake.nix)
        )
      ) <= 10;
    expected = true;
  };
  "the flake is short" = {
    expr = lines <= 120;
    expected = true;
  };
  "the lock file holds a real nixpkgs" = {
    expr = {
      inherit (lock.nodes.nixpkgs.locked) owner repo;
      inherit (lock.nodes.nixpkgs.original) ref;
      revision = lib.stringLength lock.nodes.nixpkgs.locked.rev;
      hash = lib.hasPrefix "sha256-" lock.nodes.nixpkgs.locked.narHash;
    };
    expected = {
      owner = "NixOS";
      repo = "nixpkgs";
      ref = "nixos-26.05";
      revision = 40;
      hash = true;
    };
  };
  "every input is locked" = {
    expr = lib.attrNames flake.inputs;
    expected = lib.attrNames lock.nodes.root.inputs;
  };
}
