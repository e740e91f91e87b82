"""Every application, every way of keeping its state, on every example host.

`matrix.nix` makes the rows out of the options' own choices. Here each row becomes a
deployment file in a copy of the example host, which is then read by the loader that an
operator's inventory is read by.
"""

import json
import pathlib
import shutil
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent

# The kind of item that a choice must put into the manifest.
KINDS = {"bucket": "bucket", "mysql": "mysql", "pgsql": "postgres", "buckets": "bucket", "directories": "directory"}
# Those that know no other database.
POSTGRES_ONLY = {"mastodon", "matrix", "peertube"}
FIELDS = {
    "failed": "assertions fail",
    "dormant": "run on a dormant guest",
    "fenced": "run on a fenced guest",
    "notLeased": "do not run with the lease",
}


def toml(value):
    """A value as TOML writes it on one line."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


def write_inventory(folder, host, variants):
    """The repository's inventory with this one host, and the rows as its deployments."""
    shutil.copy(ROOT / "fedi.toml", folder)
    deployments = folder / "hosts" / host / "deployments"
    deployments.mkdir(parents=True)
    shutil.copy(ROOT / "hosts" / host / "host.toml", folder / "hosts" / host)
    for name, row in variants.items():
        lines = [f'app = "{row["app"]}"', f'domain = "{name}.example.test"', "[settings]"]
        lines += [f"{key} = {toml(value)}" for key, value in row["settings"].items()]
        (deployments / f"{name}.toml").write_text("\n".join(lines) + "\n")


def problem(row, found, host):
    """What is wrong with an evaluated row, or nothing."""
    wrong = [f"{what}: {found[field]}" for field, what in FIELDS.items() if found[field]]
    if found["host"] != host:
        wrong.append(f"it is on the host {found['host']}")
    if not found["lint"]:
        wrong.append("the coverage lint let an unclaimed state directory through")
    wanted = {KINDS[choice] for choice in row["choices"] if choice in KINDS}
    wanted |= {"postgres"} if row["app"] in POSTGRES_ONLY else set()
    if missing := wanted - set(found["kinds"]):
        wrong.append(f"the manifest has no item of the kind {sorted(missing)}")
    return "\n".join(wrong) or None


def check(nix):
    """Yields `(name, problem)` for every row on every host."""
    variants = nix.value(HERE / "matrix.nix", "variants")
    hosts = sorted(path.parent.name for path in ROOT.glob("hosts/*/host.toml"))
    manifests = {}
    for host in hosts:
        with tempfile.TemporaryDirectory(prefix="fedi-matrix-") as folder:
            folder = pathlib.Path(folder)
            write_inventory(folder, host, variants)
            results = nix.value(HERE / "matrix.nix", "results", root=folder)
        for name, row in sorted(variants.items()):
            found = results.get(name)
            title = f"matrix: {name} on {host}"
            yield title, "it is not evaluated" if found is None else problem(row, found, host)
            manifests.setdefault(name, {})[host] = found and found["manifest"]
    yield "matrix: at least two example hosts", None if len(hosts) >= 2 else f"only {hosts}"
    for name, by_host in sorted(manifests.items()):
        same = all(manifest == by_host[hosts[0]] for manifest in by_host.values())
        yield f"matrix: {name} is the same wherever it runs", None if same else "the manifest depends on the host"
