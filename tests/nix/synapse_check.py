"""Lets the real Synapse read what the modules configure. Only its configuration is
loaded; nothing listens. Uses the Synapse that the sandbox keeps in the cache."""

import json
import pathlib
import re
import subprocess
import tempfile

from scripts_check import AWKWARD, CACHE, bash, deliver, inside

# Loads the files as `synapse_homeserver --config-path` does, and says what came of it.
READ = """
import json, sys
from synapse.config import repository
from synapse.config.homeserver import HomeServerConfig
# Which optional packages there are is nixpkgs' business.
repository.check_requirements = lambda *_: None
config = HomeServerConfig.load_config("test", [word for path in sys.argv[1:] for word in ("--config-path", path)])
print(json.dumps({
    "name": config.server.server_name,
    "pepper": config.auth.password_pepper,
    "keys": [f"{key.alg}:{key.version}" for key in config.key.signing_key],
    "macaroon": config.key.macaroon_secret_key.decode() if isinstance(config.key.macaroon_secret_key, bytes) else config.key.macaroon_secret_key,
    "registration": config.registration.enable_registration,
    "shared": config.registration.registration_shared_secret,
    "providers": len(config.media.media_storage_providers),
    "password": getattr(config.email, "email_smtp_pass", None),
    "turn": config.voip.turn_shared_secret,
}))
"""

# The S3 provider is a package of its own; its place in the configuration is what counts.
PROVIDER = """
class S3StorageProviderBackend:
    def __init__(self, hs, config): pass
    @staticmethod
    def parse_config(config):
        assert config["bucket"] and config["secret_access_key"] and config["endpoint_url"].startswith("https://")
        return config
"""


def check(systems, skip):
    archives = sorted((CACHE / "systems").glob("matrix-synapse-*.tar.zst"))
    if not archives:
        skip("no Synapse in the cache (`make setup`): its settings are not read by the real one")
        return
    with tempfile.TemporaryDirectory(prefix="fedi-synapse-") as folder:
        folder = pathlib.Path(folder)
        library = folder / "lib"
        library.mkdir()
        unpacked = subprocess.run(["tar", "--zstd", "-xf", str(archives[-1]), "-C", str(library)], check=False)
        if unpacked.returncode != 0:
            skip("the Synapse in the cache cannot be unpacked")
            return
        (library / "s3_storage_provider.py").write_text(PROVIDER)
        for title, system in sorted(systems.items()):
            yield from one(folder / title, library, title, system)


def one(root, library, title, system):
    root.mkdir()
    deliver(root, "matrix", system["secrets"], AWKWARD)
    secrets = root / "var/lib/fedi/secrets/matrix"
    (secrets / "signing-key").write_text("ed25519 a_test " + "A" * 43 + "\n")
    rendered = bash("set -eu\n" + inside(system["render"], root))
    if rendered.returncode != 0:
        yield f"Synapse reads {title}", rendered.stderr
        return
    text = json.dumps(system["settings"])
    text = text.replace("/var/lib/fedi", f"{root}/var/lib/fedi")
    text = text.replace("/var/lib/matrix-synapse", f"{root}/data")
    (root / "data").mkdir()
    (root / "homeserver.yaml").write_text(text)
    result = subprocess.run(
        ["/usr/bin/python3", "-c", READ, str(root / "homeserver.yaml"), f"{root}/run/fedi/matrix/synapse.json"],
        capture_output=True, text=True, check=False,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(library), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    if result.returncode != 0:
        yield f"Synapse reads {title}", result.stderr[-1500:]
        return
    found = json.loads(result.stdout.splitlines()[-1])
    settings = system["settings"]
    wanted = {
        "name": settings["server_name"],
        "pepper": AWKWARD,
        "keys": ["ed25519:a_test"],
        "macaroon": AWKWARD,
        "registration": settings["enable_registration"],
        "shared": AWKWARD,
        "providers": 1 if "s3-key-id" in system["secrets"] else 0,
        "password": AWKWARD if "smtp-password" in system["secrets"] else None,
        "turn": AWKWARD if "turn-secret" in system["secrets"] else None,
    }
    wrong = {key: found[key] for key in wanted if (found[key] or None) != (wanted[key] or None)}
    yield f"Synapse reads {title}", f"wrong: {wrong}" if wrong else None
    said = [line for line in result.stderr.splitlines() if re.search("deprecat|warn", line, re.IGNORECASE)]
    yield f"Synapse has no complaint about {title}", "\n".join(said) or None
