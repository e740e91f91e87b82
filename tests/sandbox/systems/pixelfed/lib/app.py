"""The stand-in for Pixelfed: its state as Pixelfed keeps it (apps/pixelfed)."""

import base64
import hashlib
import json
import pathlib
import re
import secrets
import subprocess
import tempfile
import time
import uuid

from standin import mariadb
from standin.application import SYSTEM, Application, Refused, key_pair, secret
from standin.seal import key_of, seal, unseal

HOME = pathlib.Path("/var/lib/pixelfed")
STORAGE = HOME / "storage"
PUBLIC = STORAGE / "app/public"
DELAYED = "queues:default:delayed"
CACHE = "pixelfed_cache:"
# What is said otherwise on MariaDB.
ON_MARIADB = {
    "add user": """INSERT INTO users (name, username, email, password, is_admin) VALUES ($1, $1, $2, $3, 1);
        INSERT INTO profiles (user_id, username, private_key, public_key)
          SELECT id, username, $4, $5 FROM users WHERE id = last_insert_id()""",
    "add token": "INSERT INTO oauth_access_tokens (id, user_id) VALUES ($1, $2)",
    "add post": """INSERT INTO statuses (profile_id, caption, uri)
        SELECT id, $2, concat($3, uuid()) FROM profiles WHERE user_id = $1 RETURNING id""",
    "post": "SELECT caption FROM statuses WHERE id = $1",
    "add media": """INSERT INTO media (profile_id, user_id, media_path, size, mime, metadata)
        SELECT id, user_id, $2, $3, $4, json_object('size', $3) FROM profiles WHERE user_id = $1 RETURNING id""",
    "set second factor": "UPDATE users SET `2fa_secret` = $2, `2fa_enabled` = 1 WHERE id = $1",
    "second factor": "SELECT `2fa_secret` FROM users WHERE id = $1",
}


class App(Application):
    name = "pixelfed"
    port = 9001
    sql = {
        "user": "SELECT id, password FROM users WHERE username = $1",
        "add user": """WITH new AS (INSERT INTO users (name, username, email, password, is_admin)
              VALUES ($1, $1, $2, $3, true) RETURNING id, username)
            INSERT INTO profiles (user_id, username, private_key, public_key) SELECT id, username, $4, $5 FROM new""",
        "add token": "INSERT INTO oauth_access_tokens (id, user_id) VALUES ($1, $2::bigint)",
        "user of token": "SELECT user_id FROM oauth_access_tokens WHERE id = $1 AND NOT revoked",
        "add post": """INSERT INTO statuses (profile_id, caption, uri)
            SELECT id, $2, $3 || gen_random_uuid() FROM profiles WHERE user_id = $1::bigint RETURNING id""",
        "post": "SELECT caption FROM statuses WHERE id = $1::bigint",
        "add media": """INSERT INTO media (profile_id, user_id, media_path, size, mime)
            SELECT id, user_id, $2, $3::integer, $4 FROM profiles WHERE user_id = $1::bigint RETURNING id""",
        "set second factor": """UPDATE users SET "2fa_secret" = $2, "2fa_enabled" = true WHERE id = $1::bigint""",
        "second factor": """SELECT "2fa_secret" FROM users WHERE id = $1::bigint""",
        "add done": "INSERT INTO notifications (job, action) VALUES ($1, $2)",
        "done": "SELECT id, job, action FROM notifications ORDER BY id",
        "actor": "SELECT public_key FROM profiles WHERE domain IS NULL ORDER BY id LIMIT 1",
    }

    def __init__(self):
        if json.loads((SYSTEM / "etc/standin.json").read_text())["database"] == "mysql":
            self.Database, self.sql = mariadb.Database, self.sql | ON_MARIADB
        super().__init__()

    # Laravel's encrypter: base 64 of JSON with the nonce, the value and its code.

    def key(self):
        return key_of(secret("app-key").removeprefix("base64:"), "laravel")

    def seal(self, text):
        nonce, sealed, tag = (base64.b64encode(part).decode() for part in seal(self.key(), text))
        return base64.b64encode(json.dumps({"iv": nonce, "value": sealed, "mac": tag, "tag": ""}).encode()).decode()

    def unseal(self, value):
        found = json.loads(base64.b64decode(value))
        return unseal(self.key(), *(base64.b64decode(found[part]) for part in ("iv", "value", "mac")))

    # Passport: a token is signed with the private OAuth key and holds while the public one verifies it.

    def log_in(self, login, password):
        number = super().log_in(login, password)["token"]
        self.redis.ask("SET", f"{CACHE}{secrets.token_hex(20)}", login, "EX", 7200)
        sign = ["openssl", "dgst", "-sha256", "-sign", STORAGE / "oauth-private.key"]
        signature = subprocess.run(sign, input=number.encode(), check=True, capture_output=True).stdout
        return {"token": f"{number}.{base64.urlsafe_b64encode(signature).decode()}"}

    def new_token(self):
        return secrets.token_hex(40)

    def user_of(self, token):
        number, _, signature = token.partition(".")
        with tempfile.NamedTemporaryFile() as file:
            file.write(base64.urlsafe_b64decode(signature))
            file.flush()
            verify = ["openssl", "dgst", "-sha256", "-verify", STORAGE / "oauth-public.key", "-signature", file.name]
            if subprocess.run(verify, input=number.encode(), capture_output=True, check=False).returncode:
                raise Refused(401, "The access token was signed with another key")
        return super().user_of(number)

    def store(self, user, name, data, kind):
        folder = hashlib.sha256(str(user).encode()).hexdigest()[:9]
        path = f"m/_v2/{user}/{folder}/{name}.png"
        file = PUBLIC / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        return path

    def address(self, path):
        return f"https://{self.domain}/storage/{path}"

    # Laravel's queue: a list, and a sorted set of what comes later.

    def queue(self, what, delay):
        job = {"uuid": str(uuid.uuid4()), "job": "StandInJob", "data": what}
        if delay:
            self.redis.ask("ZADD", DELAYED, time.time() + delay, json.dumps(job))
        else:
            self.redis.ask("RPUSH", "queues:default", json.dumps(job))
        return job["uuid"]

    def take(self):
        due = self.redis.ask("ZRANGEBYSCORE", DELAYED, "-inf", time.time(), "LIMIT", 0, 1)
        if due and self.redis.ask("ZREM", DELAYED, due[0]):
            self.redis.ask("RPUSH", "queues:default", due[0])
        found = self.redis.ask("LPOP", "queues:default")
        if not found:
            return None
        job = json.loads(found)
        return job["uuid"], job["data"]

    def queued(self):
        waiting = self.redis.ask("LRANGE", "queues:default", 0, -1)
        later = self.redis.ask("ZRANGE", DELAYED, 0, -1)
        return [json.loads(job)["uuid"] for job in waiting], [json.loads(job)["uuid"] for job in later]

    def instance_actor(self):
        return self.database.value("SELECT public_key FROM instance_actors ORDER BY id DESC LIMIT 1")

    def pages(self):
        return {
            "/api/service/health-check": "OK",
            "/api/v1/instance": {"uri": self.domain, "title": self.config["name"], "version": "0.12.7+stand-in"},
            "/i/actor": {"publicKey": {"publicKeyPem": self.instance_actor()}},
        }

    def facts(self):
        keys = {"OAuth key": (STORAGE / "oauth-public.key").read_text(), "instance actor": self.instance_actor()}
        marks = sorted(file.name for file in HOME.iterdir() if file.name.startswith(".") and file.name != ".env")
        return {**super().facts(), **keys, "markers": marks}

    # What other units run.

    def deliver_keys(self):
        """Passport reads its keys from the storage folder only; the marker says that they are there."""
        STORAGE.mkdir(exist_ok=True)
        for half in ("private", "public"):
            file = STORAGE / f"oauth-{half}.key"
            file.unlink(missing_ok=True)
            file.touch(mode=0o600)
            file.write_text(secret(f"oauth-{half}-key") + "\n")
        (HOME / ".passport-keys-generated").touch()

    def set_up(self):
        """What nixpkgs' set-up unit does: `.env`, and behind marker files what is done once."""
        environment = HOME / ".env"
        environment.unlink(missing_ok=True)
        environment.touch(mode=0o600)
        environment.write_text(f"APP_KEY={secret('app-key')}\nAPP_DOMAIN={self.domain}\n")
        for folder in ("app/public/m", "app/public/avatars", "framework/cache", "logs"):
            (STORAGE / folder).mkdir(parents=True, exist_ok=True)
        if not (HOME / ".initial-migration").exists():
            self.seed()
            (HOME / ".initial-migration").touch()
        if not (HOME / ".instance-actor-created").exists():
            self.database.rows("INSERT INTO instance_actors (private_key, public_key) VALUES ($1, $2)", *key_pair())
            (HOME / ".instance-actor-created").touch()
        if not (HOME / ".passport-keys-generated").exists():
            raise SystemExit("No OAuth keys were delivered; none are made here")

    def run_schedule(self):
        """What Laravel's scheduler is asked each minute: the stand-in has nothing that is due."""
        self.redis.ask("SET", f"{CACHE}illuminate:schedule:last", int(time.time()), "EX", 3600)

    def clear_cache(self):
        """What the database does not bear out after a restore. Sessions, which lie beside it, stay."""
        for key in self.redis.ask("KEYS", f"{CACHE}*"):
            if not re.fullmatch(r"[0-9A-Za-z]{40}", key.removeprefix(CACHE)):
                self.redis.ask("DEL", key)
