"""Boots the gate of every application under a real systemd: the units as the modules
define them, each with a command that only says that it ran. What the simulated boot of
boot.nix says is held against what systemd does: dormant, started by hand, leased, fenced,
rebooted.

Needs root, systemd-nspawn and the root that sandbox guests boot from (`make setup`).
"""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile

CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "fedi"

# Stands in for fedi-guest: the lease is the word `held`.
AGENT = """#!/bin/sh
[ "$1 $2" = "lease require" ] && grep -q held "/var/lib/fedi/lease/$3"
"""

# Runs inside, once systemd has started everything; `$1` is the name of the boot.
INSIDE = r"""#!/bin/bash
exec 2>>/test/inside.log
set -x
. /test/names
active() { for unit in $units; do systemctl is-active --quiet "$unit" && echo "$unit"; done; :; }
report() { active > "/test/$1.active"; systemctl --failed --plain --no-legend | awk '{print $1}' > "/test/$1.failed"
           ls /run/fedi/lease > "/test/$1.marker" 2>/dev/null; :; }
by_hand() { for unit in $units; do timeout 20 systemctl start "$unit"; done; :; }
boot=$(cat /test/boot)
report "$boot"
if [ "$boot" = first ]; then
  by_hand; report by-hand
  echo held > "/var/lib/fedi/lease/$app"
  systemctl start "$gate"; report no-secrets
  systemctl reset-failed
  for secret in $secrets; do mkdir -p "$(dirname "$secret")"; echo x > "$secret"; done
  systemctl start "$gate"; report leased
  systemctl stop "$gate"
  echo revoked > "/var/lib/fedi/lease/$app"
  report stopped
  by_hand; systemctl start "$gate"; report fenced-by-hand
fi
: > "/test/$boot.done"
systemctl poweroff
"""


def root_of_guests():
    for folder in sorted(CACHE.glob("guest-root-*")):
        for candidate in (folder, folder / "root"):
            if (candidate / "usr/lib/systemd/systemd").exists():
                return candidate
    return None


def unit_file(name, unit, system, known):
    """A unit of the system, doing nothing but say that it started."""
    section = ["[Unit]"]
    # Only what is there is required: databases and the like are not what is tested.
    for key, field in [("After", "after"), ("Requires", "requires"), ("Wants", "wants"), ("PartOf", "partOf")]:
        section += [f"{key}={other}" for other in unit[field] if other in known]
    section += [f"ConditionPathExists={path}" for path in unit["conditions"]]
    app = system["app"]
    if name == f"fedi-{app}-lease.service":
        section += [
            "[Service]", "Type=oneshot", "RemainAfterExit=yes",
            f"ExecCondition=/test/fedi-guest lease require {app}",
            "ExecStart=/bin/bash -e /test/lease.sh",
            f"ExecStopPost=/bin/rm -f /run/fedi/lease/{app}",
        ]
    elif name.endswith(".service"):
        said = f"echo {name} >> /test/ran"
        if unit["oneshot"]:
            # Stays, so that one can see that it ran.
            section += ["[Service]", "Type=oneshot", "RemainAfterExit=yes", f"ExecStart=/bin/sh -c '{said}'"]
        else:
            section += ["[Service]", f"ExecStart=/bin/sh -c '{said}; exec sleep infinity'"]
    elif name.endswith(".timer"):
        section += ["[Timer]", "OnCalendar=yearly", f"Unit={unit['triggers']}"]
    return "\n".join(section) + "\n"


def boot(guests, folder, name):
    """Starts a machine over a fresh overlay of the root; what persists is /var/lib/fedi."""
    (folder / "test" / "boot").write_text(name)
    command = [
        "systemd-nspawn", "--quiet", f"--directory={guests}", "--volatile=overlay", "--boot", "--register=no",
        "--keep-unit", "--private-network", "--console=pipe", "--machine=fedi-gate", "--resolv-conf=off",
        f"--bind={folder}/test:/test", f"--bind={folder}/state:/var/lib/fedi",
        f"--bind-ro={folder}/units:/run/systemd/system",
        "--settings=no", "systemd.unit=multi-user.target",
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=180, stdin=subprocess.DEVNULL, check=False)


def lines(path):
    return path.read_text().split() if path.exists() else None


def run(guests, title, system):
    with tempfile.TemporaryDirectory(prefix="fedi-gate-") as folder:
        folder = pathlib.Path(folder)
        for name in ("test", "state/lease", "units"):
            (folder / name).mkdir(parents=True)
        test = folder / "test"
        (test / "fedi-guest").write_text(AGENT)
        (test / "lease.sh").write_text(system["lease"])
        (test / "inside").write_text(INSIDE)
        for program in ("fedi-guest", "inside"):
            (test / program).chmod(0o755)
        (test / "names").write_text(
            f"app={system['app']}\ngate={system['gate']}\n"
            f"units='{' '.join(system['units'])}'\nsecrets='{' '.join(system['secrets'])}'\n"
        )
        known = set(system["definitions"]) | {"multi-user.target"}
        for name, unit in system["definitions"].items():
            (folder / "units" / name).write_text(unit_file(name, unit, system, known))
            for field, suffix in (("wantedBy", "wants"), ("requiredBy", "requires")):
                for other in unit[field]:
                    links = folder / "units" / f"{other}.{suffix}"
                    links.mkdir(exist_ok=True)
                    (links / name).symlink_to(f"../{name}")
        (folder / "units" / "inside.service").write_text(
            "[Unit]\nDefaultDependencies=no\nAfter=multi-user.target\n"
            "[Service]\nType=oneshot\nExecStart=/test/inside\n"
        )
        wants = folder / "units" / "multi-user.target.wants"
        wants.mkdir(exist_ok=True)
        (wants / "inside.service").symlink_to("../inside.service")

        first = boot(guests, folder, "first")
        if not (test / "first.done").exists():
            yield f"{title}: it boots", f"{first.stdout[-2000:]}\n{first.stderr[-2000:]}"
            return
        units = set(system["units"])
        timed = {f"{unit.removesuffix('.timer')}.service" for unit in units if unit.endswith(".timer")}

        def nothing(name, what):
            active, failed = lines(test / f"{name}.active"), lines(test / f"{name}.failed")
            failed = [unit for unit in failed or [] if unit in units]
            marker = lines(test / f"{name}.marker")
            good = active == [] and failed == [] and not marker
            return f"{title}: {what}", None if good else f"active {active}, failed {failed}, marker {marker}"

        yield nothing("first", "a fresh guest is dark, and nothing has failed")
        yield nothing("by-hand", "units that are started by hand stay dark")
        yield nothing("no-secrets", "with the lease but without secrets it stays dark")
        leased = set(lines(test / "leased.active") or [])
        missing = units - leased - timed
        yield f"{title}: with lease and secrets everything runs", (
            None if not missing else f"not running: {sorted(missing)}"
        )
        yield nothing("stopped", "a closed gate stops everything")
        yield nothing("fenced-by-hand", "a fenced guest stays dark, whoever starts what")

        boot(guests, folder, "fenced")
        yield nothing("fenced", "a fenced guest stays dark over a reboot")

        (folder / "state" / "lease" / system["app"]).write_text("held\n")
        boot(guests, folder, "again")
        again = set(lines(test / "again.active") or [])
        missing = units - again - timed
        yield f"{title}: a leased guest comes back after a reboot", (
            None if not missing else f"not running: {sorted(missing)}"
        )


def check(systems, skip):
    guests = root_of_guests()
    if os.geteuid() != 0 or not shutil.which("systemd-nspawn") or guests is None:
        skip("no root, systemd-nspawn or sandbox guest root: the gate is not booted under systemd")
        return
    for title, system in sorted(systems.items()):
        yield from run(guests, title, system)


if __name__ == "__main__":
    import sys

    for result in check(json.load(sys.stdin), print):
        print(result)
