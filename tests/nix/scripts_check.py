"""Runs what the modules write as scripts: syntax of all, and for real the ones that put
secret files together and that guard a start."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time

CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "fedi"

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


def drains(scripts):
    """Queued work runs out behind a 503; what fails is undone."""
    scripts = scripts["mastodon-local"]
    with tempfile.TemporaryDirectory() as root:
        root = pathlib.Path(root)
        (root / "run").mkdir()
        (root / "bin").mkdir()
        stand_ins = {
            "systemctl": f'echo "$*" >>{root}/calls',
            "sleep": "true",
            # Two pieces of work, then none.
            "redis-cli": f'case $* in *smembers*) echo default ;; *) cat {root}/left; echo 0 >{root}/left ;; esac',
        }
        for name, text in stand_ins.items():
            (root / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
            (root / "bin" / name).chmod(0o755)
        (root / "left").write_text("2\n")
        path = f"{root / 'bin'}:{os.environ['PATH']}"
        maintenance = root / "run/fedi/maintenance"
        timer = "mastodon-media-auto-remove.timer"

        result = bash(inside(scripts["fedi-mastodon-drain"], root), PATH=path)
        fine = result.returncode == 0 and "2 pieces of work are left" in result.stdout and maintenance.exists()
        yield "a drain waits for queued work", None if fine else result.stdout + result.stderr

        calls = root / "calls"
        after = inside(scripts["post-stop fedi-mastodon-drain"], root)
        bash(after, PATH=path, SERVICE_RESULT="success")
        fine = maintenance.exists() and calls.read_text() == f"stop {timer}\n"
        yield "a drain that ended well stays", None if fine else calls.read_text()

        bash(after, PATH=path, SERVICE_RESULT="timeout")
        fine = not maintenance.exists() and calls.read_text().endswith(f"start --no-block {timer}\n")
        yield "a drain that failed is undone", None if fine else calls.read_text()


def caches(scripts):
    """What Pixelfed caches is cleared in a real Redis; queued work and sessions stay."""
    script = scripts["pixelfed-mysql-local"]["fedi-pixelfed-cache"]
    socket = re.search(r"-s (\S+)", script)[1]
    session = "pixelfed_cache::" + "aB3" * 13 + "x"
    stay = {
        "queues:default": "a delivery",
        "queues:default:delayed": "a later one",
        "horizon-failed_jobs": "a record",
        "email:manual": "somebody",
        session: "logged in",
        session.replace("::", ":"): "logged in",
    }
    go = [
        "pixelfed_cache::_instance_actor:pki:private",
        "pixelfed_cache:pf:services:account:1",
        "pf:services:mutes:ids:1",
        "a_prefix_pixelfed_cache::x",
    ]
    with tempfile.TemporaryDirectory(prefix="fedi-redis-") as root:
        here = f"{root}/redis.sock"
        server = subprocess.Popen(
            ["redis-server", "--port", "0", "--unixsocket", here, "--dir", root, "--save", ""],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        try:
            def ask(*words, **more):
                return subprocess.run(["redis-cli", "-s", here, *words], capture_output=True, text=True, check=False, **more)

            while server.poll() is None and ask("PING").stdout.strip() != "PONG":
                time.sleep(0.05)
            for key in [*stay, *go]:
                ask("SET", key, stay.get(key, "stale"))
            # More than one page of a scan.
            ask(input="".join(f"SET pf:services:status:{number} stale\n" for number in range(3000)))
            result = bash(script.replace(socket, here))
            found = set(ask("KEYS", "*").stdout.split("\n")) - {""}
            right = result.returncode == 0 and found == set(stay) and result.stdout.strip() == str(3000 + len(go))
            yield "Pixelfed's cache is cleared, its queues and sessions are not", (
                None if right else f"{result.stdout}{result.stderr}{sorted(found)[:20]}"
            )
        finally:
            server.terminate()
            server.wait()
        result = bash(script.replace(socket, here))
        yield "without Redis clearing the cache fails", None if result.returncode != 0 else "it succeeded"


def provision():
    """Garage's layout, keys and buckets: made once, left alone the second time. Held
    against a stand-in of its admin API."""
    import garage_admin

    script = pathlib.Path(__file__).resolve().parents[2] / "apps" / "garage" / "provision.sh"
    with tempfile.TemporaryDirectory() as root, garage_admin.Garage("token") as garage:
        root = pathlib.Path(root)
        (root / "header").write_text("Authorization: Bearer token\n")
        for name, value in {"a-id": "GK" + "a" * 24, "a-secret": "5ec" + "0" * 61, "b-id": "GK" + "b" * 24, "b-secret": "f" * 64}.items():
            (root / name).write_text(value + "\n")
        plan = {
            "zone": "zone1",
            "capacity": 1 << 30,
            "keys": {name: {"id": str(root / f"{name}-id"), "secret": str(root / f"{name}-secret")} for name in "ab"},
            "buckets": {
                "media": {"keys": ["a", "b"], "website": True, "aliases": ["media.example.test"], "quota": 1 << 20},
                "backups": {"keys": ["b"], "website": False, "aliases": [], "quota": None},
            },
        }
        (root / "plan.json").write_text(json.dumps(plan))

        def run():
            environment = {"PATH": os.environ["PATH"], "ADMIN": garage.url, "HEADER": str(root / "header")}
            command = ["bash", str(script), str(root / "plan.json")]
            return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)

        first = run()
        state = garage.state
        names = {alias: bucket for bucket in state.buckets.values() for alias in bucket["globalAliases"]}
        media = names.get("media", {})
        made = (
            first.returncode == 0
            and state.version == 1
            and state.roles[0]["capacity"] == 1 << 30
            and state.keys["GK" + "a" * 24]["secretAccessKey"] == "5ec" + "0" * 61
            and names.keys() == {"media", "backups", "media.example.test"}
            and media["keys"]["GK" + "a" * 24] == {"read": True, "write": True, "owner": True}
            and media["keys"]["GK" + "b" * 24]["owner"] is False
            and media["websiteAccess"]["enabled"] is True
            and media["quotas"]["maxSize"] == 1 << 20
        )
        yield "Garage gets layout, keys and buckets", None if made else f"{first.stderr}\n{vars(state)}"
        yield "no key's secret is in what provisioning says", (
            None if "5ec0" not in first.stdout + first.stderr else first.stdout
        )

        state.writes.clear()
        second = run()
        again = {verb for verb, _ in state.writes}
        quiet = second.returncode == 0 and second.stdout == "" and again <= {"AllowBucketKey", "UpdateBucket"}
        yield "a second run makes nothing again", None if quiet else f"{again} {second.stdout}{second.stderr}"

        plan["capacity"] = 2 << 30
        (root / "plan.json").write_text(json.dumps(plan))
        third = run()
        grown = third.returncode == 0 and state.version == 2 and state.roles[0]["capacity"] == 2 << 30
        yield "a larger capacity is a new layout", None if grown else third.stderr

        (root / "header").write_text("Authorization: Bearer wrong\n")
        state.writes.clear()
        # The wait for a starting Garage is not what is tested.
        patient = script.read_text().replace("seq 1 60", "seq 1 1").replace('= 60 ]', '= 1 ]')
        (root / "impatient.sh").write_text(patient)
        environment = {"PATH": os.environ["PATH"], "ADMIN": garage.url, "HEADER": str(root / "header")}
        refused = subprocess.run(
            ["bash", str(root / "impatient.sh"), str(root / "plan.json")],
            capture_output=True, text=True, env=environment, check=False,
        )
        yield "a wrong token changes nothing and fails", (
            None if refused.returncode != 0 and not state.writes else refused.stderr
        )


def database(scripts):
    """The database of Synapse, in a real PostgreSQL on a socket of its own."""
    programs = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"))[-1]
    script = scripts["matrix-local"]["fedi-database-matrix-synapse"]
    extensions = scripts["peertube-local"]["fedi-database-peertube"]
    # Not below a private TMPDIR: the socket's path must be short, and the server's user get in.
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="fedi-pg-") as root:
        os.chmod(root, 0o755)
        data, socket = f"{root}/data", f"{root}/s"
        for folder in (data, socket):
            os.mkdir(folder)
            if os.geteuid() == 0:
                shutil.chown(folder, "postgres", "postgres")
        as_postgres = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        environment = {"PATH": f"{programs}:{os.environ['PATH']}", "PGHOST": socket, "LANG": "C.UTF-8", "PGUSER": "postgres"}

        def run(command, **extra):
            return subprocess.run(
                as_postgres + ["env", *(f"{key}={value}" for key, value in environment.items()), *command],
                capture_output=True, text=True, check=False, cwd=root, **extra,
            )

        def sql(text, name="postgres"):
            return run(["psql", "-tAc", text, name]).stdout.strip()

        made = run(["initdb", "-D", data, "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8"])
        if made.returncode != 0:
            yield "PostgreSQL for the database scripts", made.stderr
            return
        options = f"-c listen_addresses= -c unix_socket_directories={socket} -c fsync=off"
        started = run(["pg_ctl", "-D", data, "-w", "-l", f"{data}/log", "-o", options, "start"])
        try:
            if started.returncode != 0:
                yield "PostgreSQL for the database scripts", started.stderr
                return
            run(["createuser", "matrix-synapse"])
            run(["createuser", "peertube"])
            first = run(["bash", "-e"], input=script)
            found = sql("SELECT datcollate, datctype, pg_encoding_to_char(encoding), pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'matrix-synapse'")
            yield "Synapse's database has collation C and its owner", (
                None if first.returncode == 0 and found == "C|C|UTF8|matrix-synapse" else f"{found} {first.stderr}"
            )
            run(["psql", "-c", "CREATE TABLE kept (x int)", "matrix-synapse"])
            second = run(["bash", "-e"], input=script)
            kept = sql("SELECT count(*) FROM kept", "matrix-synapse")
            yield "the database is not made anew", (
                None if second.returncode == 0 and kept == "0" else second.stderr
            )
            run(["psql", "-c", 'DROP DATABASE "matrix-synapse"', "postgres"])
            run(["createdb", "matrix-synapse"])
            wrong = run(["bash", "-e"], input=script)
            yield "a database of another collation is refused", (
                None if wrong.returncode != 0 and "has collation C.UTF-8 and needs C" in wrong.stderr else wrong.stderr
            )
            peertube = run(["bash", "-e"], input=extensions)
            there = sql("SELECT count(*) FROM pg_extension WHERE extname IN ('pg_trgm', 'unaccent')", "peertube")
            yield "PeerTube's database has its extensions", (
                None if peertube.returncode == 0 and there == "2" else f"{there} {peertube.stderr}"
            )
        finally:
            run(["pg_ctl", "-D", data, "-w", "-m", "immediate", "stop"])


def check(scripts, skip):
    yield from syntax(scripts)
    if shutil.which("jq"):
        yield from rendered(scripts)
    else:
        skip("no jq here: scripts that render secret files are not run")
    if shutil.which("jq") and shutil.which("curl"):
        yield from provision()
    else:
        skip("no jq or curl here: Garage's provisioning is not run")
    yield from leases(scripts)
    yield from drains(scripts)
    if shutil.which("redis-server") and shutil.which("redis-cli"):
        yield from caches(scripts)
    else:
        skip("no Redis here (Debian: redis-server): clearing Pixelfed's cache is not run")
    can_drop_root = os.geteuid() != 0 or shutil.which("runuser")
    if any(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb")) and shutil.which("psql") and can_drop_root:
        yield from database(scripts)
    else:
        skip("no PostgreSQL here (Debian: postgresql): scripts that make databases are not run")
