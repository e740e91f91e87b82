"""Runs what the modules write as scripts: syntax of all, and for real the ones that put
secret files together and that guard a start."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

# What an operator's password may look like.
AWKWARD = "a\"b$HOME`id`\\n'c d#e=%f:g"


def bash(script, **extra):
    environment = {"PATH": os.environ["PATH"], **extra}
    return subprocess.run(
        ["bash", "-e"], input=script, capture_output=True, text=True, env=environment, check=False
    )


def syntax(scripts):
    for system, units in scripts.items():
        for unit, script in units.items():
            result = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
            yield f"script of {unit} ({system})", None if result.returncode == 0 else result.stderr


def inside(script, root):
    """The script with its folders moved below `root`, and without owners."""
    script = re.sub(r"^\s*chown .*$", "", script, flags=re.MULTILINE)
    for folder in ("/run/fedi", "/var/lib/fedi"):
        script = script.replace(folder, f"{root}{folder}")
    return script


def deliver(root, app, names, value):
    folder = pathlib.Path(f"{root}/var/lib/fedi/secrets/{app}")
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text(value + "\n")


def rendered(scripts):
    """Environment files, JSON and split values say what was delivered."""
    with tempfile.TemporaryDirectory() as root:
        script = inside(scripts["mastodon-bucket"]["fedi-mastodon-secrets"], root)
        deliver(root, "mastodon", ["s3-key-id", "s3-secret-key"], AWKWARD)
        deliver(root, "mastodon", ["vapid"], "private-half:public-half")
        result = bash("set -eu\n" + script)
        if result.returncode != 0:
            yield "rendered files of Mastodon", result.stderr
            return
        out = pathlib.Path(f"{root}/run/fedi/mastodon")
        sourced = bash(f'. {out}/s3.env; printf %s "$AWS_SECRET_ACCESS_KEY"', HOME="/wrong")
        yield "an environment file keeps every character", (
            None if sourced.stdout == AWKWARD else f"{sourced.stdout!r} {sourced.stderr}"
        )
        halves = [(out / f"vapid-{half}-key").read_text().strip() for half in ("private", "public")]
        yield "the VAPID pair is split", None if halves == ["private-half", "public-half"] else str(halves)
        modes = {path.name: oct(path.stat().st_mode & 0o777) for path in out.iterdir()}
        yield "rendered files are closed to others", (
            None if set(modes.values()) == {"0o400"} else str(modes)
        )
    with tempfile.TemporaryDirectory() as root:
        script = inside(scripts["matrix-bucket"]["fedi-matrix-secrets"], root)
        names = ["password-pepper", "smtp-password", "turn-secret", "s3-key-id", "s3-secret-key"]
        deliver(root, "matrix", names, AWKWARD)
        result = bash("set -eu\n" + script)
        if result.returncode != 0:
            yield "rendered files of Matrix", result.stderr
            return
        value = json.loads(pathlib.Path(f"{root}/run/fedi/matrix/synapse.json").read_text())
        found = [
            value["password_config"]["pepper"],
            value["email"]["smtp_pass"],
            value["turn_shared_secret"],
            value["media_storage_providers"][0]["config"]["secret_access_key"],
        ]
        yield "JSON keeps every character", None if set(found) == {AWKWARD} else str(found)
    with tempfile.TemporaryDirectory() as root:
        script = inside(scripts["matrix-local"]["fedi-matrix-secrets"], root)
        result = bash("set -eu\n" + script)
        yield "a missing secret is a failure, not an empty file", (
            None if result.returncode != 0 else "it succeeded"
        )


def leases(scripts):
    """The guard of a start: secrets first, then the version, which only grows."""
    script = scripts["matrix-local"]["fedi-matrix-lease"]
    names = sorted(set(re.findall(r"secrets/matrix/([a-z0-9-]+) ]", script)))
    with tempfile.TemporaryDirectory() as root:
        here = inside(script, root)
        version = pathlib.Path(f"{root}/var/lib/fedi/version/matrix")
        marker = pathlib.Path(f"{root}/run/fedi/lease/matrix")
        pathlib.Path(f"{root}/var/lib/fedi").mkdir(parents=True)
        pathlib.Path(f"{root}/run/fedi").mkdir(parents=True)

        deliver(root, "matrix", [name for name in names if name != "signing-key"], "x")
        result = bash(here)
        refused = result.returncode != 0 and "signing-key" in result.stderr and not version.exists()
        yield "without the signing key nothing starts", None if refused and not marker.exists() else result.stderr

        deliver(root, "matrix", names, "x")
        result = bash(here)
        yield "with all secrets it starts", (
            None if result.returncode == 0 and marker.exists() and version.exists() else result.stderr
        )

        marker.unlink()
        version.write_text("999.1.0\n")
        result = bash(here)
        refused = result.returncode != 0 and "a schema cannot go back" in result.stderr
        yield "after a downgrade nothing starts", (
            None if refused and not marker.exists() and version.read_text() == "999.1.0\n" else result.stderr
        )

        result = bash(inside(scripts["matrix-local"]["pre-switch fedi-matrix-downgrade"], root))
        yield "a switch to an older system is refused", None if result.returncode != 0 else "it succeeded"


def check(scripts, skip):
    yield from syntax(scripts)
    if not shutil.which("jq"):
        skip("no jq here: scripts that render secret files are not run")
    else:
        yield from rendered(scripts)
    yield from leases(scripts)
