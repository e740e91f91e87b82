#!/usr/bin/env python3
"""Holds the manifest of a prebuilt system against the NixOS module's own.

    manifests.py MANIFEST SNAPSHOT    a guest's /etc/fedi/manifest.json, a file of tests/nix/snapshots

What the sandbox's systems do otherwise, and may: Debian 12's PostgreSQL 15, certificates by one unit instead of many,
secrets handed over by systemd instead of by a unit. Buckets and access keys are the deployment's own choice.
"""

import json
import pathlib
import re
import sys

#: What the modules write out and a manifest may leave away.
DEFAULTS = (0, False, [], "0400", "root", "UTF8", 200)
#: Units for certificates and rendered secrets.
OTHERS = re.compile(r"acme-|fedi-[a-z]+-(secrets|certificate)\.")
#: Secrets and items that a deployment's settings bring with them.
CHOSEN = re.compile(r"key-|s3-|smtp-password$|media$|configuration$")


def plain(value):
    """Without defaults."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items() if not default(inner)}
    return [plain(inner) for inner in value] if isinstance(value, list) else value


def default(value):
    return not isinstance(value, dict) and value in DEFAULTS


def renamed(value, names):
    """With other domains, wherever they stand."""
    if isinstance(value, dict):
        return {key: renamed(inner, names) for key, inner in value.items()}
    if isinstance(value, list):
        return [renamed(inner, names) for inner in value]
    if isinstance(value, str):
        for old, new in names.items():
            value = re.sub(rf"(?<![\w-]){re.escape(old)}", new, value)
    return value


def differences(app, found, wanted):
    for key in ("gate", "hooks", "upgradesFrom", "admin", "endpoints"):
        yield from differs(key, found.get(key), wanted.get(key))
    ours, theirs = ({unit for unit in it["units"] if not OTHERS.match(unit)} for it in (found, wanted))
    yield from differs("units", ours, theirs)
    for part in ("items", "secrets"):
        ours, theirs = found[part], wanted[part]
        always = [{name for name, it in side.items() if not chosen(app, name, it)} for side in (ours, theirs)]
        yield from differs(f"names of {part}", *always)
        for name in set(ours) & set(theirs):
            yield from differs(f"{part}.{name}", ours[name], theirs[name])
    order = [name for name in wanted["order"] if name in found["items"]]
    yield from differs("order", [name for name in found["order"] if name in order], order)
    records = [{record["name"] for record in it["records"]} for it in (found, wanted)]
    if app != "garage" and not records[0] <= records[1]:
        yield f"records: {records[0] - records[1]} only here"


def chosen(app, name, item):
    return CHOSEN.match(name) or (app == "garage" and "bucket" in item)


def differs(what, found, wanted):
    if found != wanted:
        yield f"{what}: {found!r} here, {wanted!r} in the module"


def prepared(app):
    """What may differ, made the same."""
    for item in app["items"].values():
        item.get("postgres", {}).pop("major", None)
    app["items"]["tls"]["directory"].pop("exclude", None)
    return plain(app)


def main():
    manifest, snapshot = (json.loads(pathlib.Path(file).read_text()) for file in sys.argv[1:3])
    [(app, found)] = manifest["apps"].items()
    wanted = snapshot["manifest"]["apps"][app]
    site = found["endpoints"][0]["url"].split("/")[2].removeprefix("s3.")
    handles = {"example.test": site} if app == "mastodon" else {}
    wanted = renamed(wanted, {f"{app}.example.test": site})
    for endpoint in wanted["endpoints"]:
        endpoint.update({key: handles.get(value, value) for key, value in endpoint.items() if key == "equals"})
    wanted["records"] = [record for record in wanted["records"] if record["name"] not in handles]
    found = [*differences(app, prepared(found), prepared(wanted))]
    print("\n".join(found) or f"{app}: as the module declares it")
    sys.exit(bool(found))


main()
