# Stands in for the nixpkgs flake, so that `nix flake show` can be run on ours. The runner
# copies this folder, nixpkgs' `lib` and the stubs beside it together.
{
  outputs =
    _:
    let
      plain = import ./lib;
      pkgs = import ./pkgs.nix { lib = plain; };
    in
    {
      lib = plain // {
        nixosSystem =
          { modules, ... }:
          plain.evalModules {
            specialArgs.modulesPath = ./nixos/modules;
            modules = [
              ./upstream
              { _module.args = { inherit pkgs; }; }
            ]
            ++ modules;
          };
      };
      legacyPackages = {
        x86_64-linux = pkgs;
        aarch64-linux = pkgs;
      };
    };
}
