"""The flake as people use it: `nix flake show`, and an inventory out of `nix flake init`.

nixpkgs is a stand-in, so that nothing is downloaded and nothing is built.
"""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TEMPLATE = ROOT / "modules" / "template"
NIX = ["nix", "--extra-experimental-features", "nix-command flakes"]
OUTPUTS = {"checks", "devShells", "formatter", "nixosConfigurations", "nixosModules", "packages", "templates", "lib"}
PACKAGES = {"default", "docs", "fedi", "fedi-guest", "image"}


def run(command, environment, folder=ROOT):
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, check=False)


def put_stand_in(nix, folder):
    """A folder that stands where nixpkgs would."""
    shutil.copytree(HERE / "nixpkgs", folder)
    shutil.copytree(HERE / "upstream", folder / "upstream")
    shutil.copy(HERE / "pkgs.nix", folder)
    shutil.copytree(nix.library, folder / "lib")


def show(nix, flake, overrides):
    """What `nix flake show` prints of a flake, in a store that is thrown away, or its error."""
    with tempfile.TemporaryDirectory(prefix="fedi-flake-") as folder:
        folder = pathlib.Path(folder)
        put_stand_in(nix, folder / "nixpkgs")
        command = [*NIX, "--store", str(folder / "store"), "flake", "show", "--json", flake, "--no-write-lock-file"]
        for name, source in overrides.items():
            command += ["--override-input", name, source or f"path:{folder / 'nixpkgs'}"]
        result = run(command, nix.environment)
        # The store's files are read-only.
        subprocess.run(["chmod", "-R", "u+w", str(folder)], check=False)
    return (json.loads(result.stdout), None) if result.returncode == 0 else (None, result.stderr[-3000:])


def wrong(found):
    names = sorted(name for name, good in found.items() if not good)
    return f"wrong: {names}" if names else None


def own_flake(nix):
    shown, problem = show(nix, f"git+file://{ROOT}", {"nixpkgs": None})
    if shown is None:
        return problem
    deployments = {path.stem for path in ROOT.glob("hosts/*/deployments/*.toml")}
    return wrong(
        {
            "outputs": set(shown) >= OUTPUTS,
            "configurations": set(shown["nixosConfigurations"]) == deployments,
            "packages": set(shown["packages"]["x86_64-linux"]) == PACKAGES,
        }
    )


def store_is_usable():
    """Whether this user can put a template into the store: by itself or through the daemon."""
    store = pathlib.Path("/nix/store")
    daemon = pathlib.Path("/nix/var/nix/daemon-socket/socket")
    return os.access(store, os.W_OK) or daemon.exists()


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def template(nix, skip):
    """`nix flake init -t <repository>#inventory`, then what an operator does with it."""
    if not store_is_usable():
        skip("/nix/store cannot be written: `nix flake init` is not run")
        return
    with tempfile.TemporaryDirectory(prefix="fedi-init-") as folder:
        folder = pathlib.Path(folder)
        home, inventory = folder / "home", folder / "inventory"
        home.mkdir()
        inventory.mkdir()
        # The store of this machine with its own state: a template is read out of it.
        environment = {key: value for key, value in nix.environment.items() if key != "NIX_STATE_DIR"}
        environment["HOME"] = str(home)
        source = f"git+file://{ROOT}"
        before = set(os.listdir("/nix/store"))
        result = run([*NIX, "flake", "init", "-t", f"{source}#inventory"], environment, inventory)
        copied = run([*NIX, "flake", "metadata", "--json", source], environment)
        if copied.returncode == 0:
            path = pathlib.Path(json.loads(copied.stdout)["path"])
            if path.name not in before:
                run(["nix-store", "--delete", str(path)], environment)
        yield "nix flake init: it runs", None if result.returncode == 0 else result.stderr[-3000:]
        if result.returncode != 0:
            return
        same = files(inventory) == files(TEMPLATE)
        yield "nix flake init: it writes the template, whole", None if same else f"it wrote {sorted(files(inventory))}"
        # An operator's flake names fedi; here it is this checkout.
        shown, problem = show(nix, f"path:{inventory}", {"fedi": source, "fedi/nixpkgs": None})
        names = set(shown["nixosConfigurations"]) if shown else set()
        deployments = {path.stem for path in inventory.glob("hosts/*/deployments/*.toml")}
        if problem is None and (names != deployments or not names):
            problem = f"it has the systems {sorted(names)} for the deployments {sorted(deployments)}"
        yield "nix flake init: the new inventory's flake has a system for its deployment", problem
        yield from loaded_by_fedi(inventory, home, skip)


def loaded_by_fedi(inventory, home, skip):
    """The command line reads what `nix flake init` wrote."""
    built = [path for path in ROOT.glob("target/*/fedi") if path.is_file()]
    if not built:
        skip("`fedi` is not built: it does not read the template's inventory")
        return
    program = max(built, key=lambda path: path.stat().st_mtime)
    environment = {"PATH": os.environ["PATH"], "HOME": str(home)}
    result = run([str(program), "-C", str(inventory), "host", "list"], environment)
    good = result.returncode == 0 and "my-host" in result.stdout and "matrix" in result.stdout
    yield "nix flake init: fedi reads the new inventory", None if good else result.stdout + result.stderr


def check(nix, skip):
    """Yields `(name, problem)`."""
    if not (ROOT / ".git").exists():
        skip("not a git checkout: `nix flake show` and `nix flake init` are not run")
        return
    yield "nix flake show", own_flake(nix)
    yield from template(nix, skip)
