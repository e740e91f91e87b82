# A table of contents: one output, one folder. `nix flake show` lists what there is.
{
  description = "Fediverse applications on hypervisors: deploy, back up, move, leave";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      fedi = import ./modules/lib { inherit lib; };
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      forAllSystems = make: lib.genAttrs systems (system: make nixpkgs.legacyPackages.${system});
      inventory = self.lib.mkInventory { root = ./.; };
    in
    {
      # For inventories: lib.mkInventory { root = ./.; }. For forms and references:
      # lib.optionRecords.
      lib = fedi // {
        mkInventory =
          arguments:
          fedi.mkInventory (
            {
              inherit nixpkgs;
              fediModule = self.nixosModules.default;
            }
            // arguments
          );
      };

      nixosModules = {
        base = ./modules/base;
        contracts = ./modules/contracts;
        guest = ./modules/guest;
        default =
          { pkgs, ... }:
          {
            imports = [ ./modules ];
            fedi.guest.package = lib.mkDefault self.packages.${pkgs.stdenv.hostPlatform.system}.fedi-guest;
          };
      }
      // lib.genAttrs fedi.apps (app: ./apps + "/${app}");

      # One for every hosts/*/deployments/*.toml:
      #   nixos-rebuild switch --flake .#mastodon --target-host root@mastodon.example.org
      inherit (inventory) nixosConfigurations;

      packages = forAllSystems (
        pkgs:
        import ./modules/packages.nix {
          inherit pkgs;
          root = ./.;
          image =
            (lib.nixosSystem {
              inherit (pkgs.stdenv.hostPlatform) system;
              modules = [
                self.nixosModules.default
                ./modules/guest/image.nix
              ];
            }).config.system.build.fediImage;
        }
        // {
          default = self.packages.${pkgs.stdenv.hostPlatform.system}.fedi;
        }
      );

      # Machines with a binary cache and KVM run these; `make test-nix` needs neither.
      checks = forAllSystems (
        pkgs:
        import ./tests/vm {
          inherit pkgs lib fedi;
          module = self.nixosModules.default;
        }
      );

      formatter = forAllSystems (pkgs: pkgs.nixfmt-tree);

      devShells = forAllSystems (pkgs: {
        default = pkgs.mkShell {
          packages = [
            pkgs.cargo
            pkgs.clippy
            pkgs.deadnix
            pkgs.nixfmt
            pkgs.rustc
            pkgs.rustfmt
            pkgs.statix
          ];
        };
      });

      # nix flake init -t git+file:///home/you/fedi#inventory
      templates = {
        inventory = {
          path = ./modules/template;
          description = "An inventory: fedi.toml, one host, one deployment";
        };
        default = self.templates.inventory;
      };
    };
}
