"""The stand-ins of nixpkgs' options held against recorded facts about nixpkgs: each
option exists, has not been removed, and has the type that it has there."""

import json
import re

# Stand-ins that are simpler than the original on purpose, and why that hides nothing.
SIMPLER = {
    "systemd units": r"^systemd\.(services|timers|targets|sockets|paths)(\.|$)",
    "free-form sections": r"^(services\.matrix-synapse\.workers$|services\.(openssh|redis|mysql|postgresql|cloud-init|matrix-synapse|peertube|garage)\..*settings|nix\.settings|boot\.kernel\.sysctl)",
    "only values fedi never sets": r"^(ids\.|users\.|services\.openssh\.hostKeys|services\.nginx\.upstreams|environment\.etc$|assertions$)",
}


def normal(text):
    """Types as words, without the differences that only punctuation makes."""
    text = re.sub(r"[()`]", "", text.lower())
    text = text.replace("(unique)", "").replace("optionally newline-terminated ", "")
    text = text.replace("string with check: non-empty", "non-empty string")
    return re.sub(r"\s+", " ", text).strip()


def check(options, folder):
    facts = {}
    for entry in json.loads((folder / "nixos-options-25.11-all.json").read_text())["options"]:
        facts[entry["path"]] = entry.get("type")
    for entry in json.loads((folder / "nixos-options.json").read_text()):
        facts[entry["path"]] = entry.get("type")
    gone = {
        entry["path"]: entry.get("replacement", "")
        for entry in json.loads((folder / "nixos-options-changes.json").read_text())
        if entry["change"] in ("removed", "renamed") and not entry.get("hint", "").startswith("undeclared")
    }
    for option in options:
        name = option["name"].replace('"', "")
        if option["internal"] or name.startswith("ids."):
            continue
        title = f"stand-in {name}"
        if option["removed"]:
            yield title, None if name in gone else "the stand-in says that it was removed; the facts do not"
            continue
        if name in gone:
            yield title, f"it was removed or renamed: {gone[name]}"
            continue
        if name not in facts:
            yield title, "nixpkgs has no such option"
            continue
        if any(re.search(pattern, name) for pattern in SIMPLER.values()):
            yield title, None
            continue
        wanted, found = facts[name], option["type"]
        same = wanted is None or normal(wanted) == normal(found)
        yield title, None if same else f"type `{found}`, in nixpkgs `{wanted}`"


# Units of nixpkgs' modules that come with settings which no test sets.
ELSEWHERE = {
    "matrix-synapse.target": "with workers",
    "matrix-synapse-worker-<name>.service": "with workers",
    "redis-matrix-synapse.service": "with workers",
    "system-synapse.slice": "a slice starts nothing",
}


def check_units(modules, folder):
    """The stand-ins' units against recorded facts: each is there and wanted by the same."""
    facts = json.loads((folder / "nixos-units.json").read_text())
    # `acme-<cert>.service` is not `acme-setup.service`.
    literal = {fact["unit"] for fact in facts}
    for fact in facts:
        module, unit = fact["module"], fact["unit"]
        if module not in modules or unit in ELSEWHERE:
            continue
        pattern = re.sub(r"<[a-z]+>", "PLACE", unit)
        pattern = re.escape(pattern).replace("PLACE", "[A-Za-z0-9.]+")
        found = {name: it for name, it in modules[module].items() if re.fullmatch(pattern, name) and (name == unit or name not in literal)}
        title = f"stand-in unit {unit} of {module}"
        if not found:
            yield title, "the stand-in has no such unit"
            continue
        # `x.target (if ...)` holds under a condition.
        wanted = {it for it in fact["wantedBy"] if "(" not in it}
        for name, it in found.items():
            same = set(it["wantedBy"]) == wanted
            yield title, None if same else f"{name} is wanted by {it['wantedBy']}, in nixpkgs by {sorted(wanted)}"
    for module, units in modules.items():
        known = [
            re.escape(re.sub(r"<[a-z]+>", "PLACE", fact["unit"])).replace("PLACE", "[A-Za-z0-9.]+")
            for fact in facts
        ]
        invented = [name for name in units if not any(re.fullmatch(pattern, name) for pattern in known)]
        invented = [name for name in invented if not name.startswith(("logrotate", "mastodon-media"))]
        yield f"stand-in units of {module} are nixpkgs' own", f"unknown: {invented}" if invented else None
