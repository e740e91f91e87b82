"""The stand-in for Mastodon: its state as Mastodon keeps it (apps/mastodon)."""

import base64
import json
import pathlib
import secrets
import shutil
import time

from standin.application import Application, secret
from standin.bucket import Bucket
from standin.seal import key_of, seal, unseal
from standin.web import serve

HOME = pathlib.Path("/var/lib/mastodon")


class App(Application):
    name = "mastodon"
    port = 55001
    sql = {
        "user": """SELECT users.id, encrypted_password FROM users JOIN accounts ON accounts.id = account_id
            WHERE username = $1 AND domain IS NULL""",
        "add user": """WITH account AS (INSERT INTO accounts (username, private_key, public_key)
              VALUES ($1, $4, $5) RETURNING id)
            INSERT INTO users (email, encrypted_password, account_id) SELECT $2, $3, id FROM account""",
        "add token": "INSERT INTO oauth_access_tokens (token, resource_owner_id) VALUES ($1, $2::bigint)",
        "user of token": "SELECT resource_owner_id FROM oauth_access_tokens WHERE token = $1",
        "add post": """INSERT INTO statuses (account_id, text, uri)
            SELECT account_id, $2, $3 || gen_random_uuid() FROM users WHERE id = $1::bigint RETURNING id""",
        "post": "SELECT text FROM statuses WHERE id = $1::bigint",
        "add media": """INSERT INTO media_attachments (account_id, file_file_name, file_file_size, file_content_type)
            SELECT account_id, $2, $3::integer, $4 FROM users WHERE id = $1::bigint RETURNING id""",
        "set second factor": """UPDATE users SET otp_secret = $2, otp_required_for_login = true
            WHERE id = $1::bigint""",
        "second factor": "SELECT otp_secret FROM users WHERE id = $1::bigint",
        "add done": "INSERT INTO notifications (jid, activity_type) VALUES ($1, $2)",
        "done": "SELECT id, jid, activity_type FROM notifications ORDER BY id",
        "actor": "SELECT public_key FROM accounts WHERE domain IS NULL ORDER BY id LIMIT 1",
    }

    # Active Record Encryption's envelope: the text, and in its header nonce and tag.

    def key(self):
        return key_of(secret("are-primary-key"), secret("are-key-derivation-salt"))

    def seal(self, text):
        nonce, sealed, tag = (base64.b64encode(part).decode() for part in seal(self.key(), text))
        return json.dumps({"p": sealed, "h": {"iv": nonce, "at": tag}}, separators=(",", ":"))

    def unseal(self, value):
        found = json.loads(value)
        parts = (base64.b64decode(part) for part in (found["h"]["iv"], found["p"], found["h"]["at"]))
        return unseal(self.key(), *parts)

    # Media: below public-system, or in the bucket under the same paths.

    def store(self, user, name, data, kind):
        media = self.config["media"]
        path = f"media_attachments/files/{int(user):09d}/original/{name}"
        if media and media["store"] == "bucket":
            bucket = Bucket(
                media["endpoint"],
                media.get("region", "garage"),
                media.get("bucket", "mastodon-media"),
                secret("s3-key-id"),
                secret("s3-secret-key"),
            )
            bucket.put(path, data, kind)
        else:
            file = HOME / "public-system" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        return path

    def address(self, path):
        media = self.config["media"]
        if media and media["store"] == "bucket":
            return f"https://{media.get('publicHost', 'media.' + self.domain)}/{path}"
        return f"https://{self.domain}/system/{path}"

    # Sidekiq's keys: lists of work, sorted sets of what comes later or failed.

    def queue(self, what, delay):
        job = {"class": "StandInWorker", "jid": secrets.token_hex(12), "args": [what], "queue": "default"}
        if delay:
            self.redis.ask("ZADD", "schedule", time.time() + delay, json.dumps(job))
        else:
            self.redis.ask("SADD", "queues", "default")
            self.redis.ask("LPUSH", "queue:default", json.dumps(job))
        return job["jid"]

    def take(self):
        due = self.redis.ask("ZRANGEBYSCORE", "schedule", "-inf", time.time(), "LIMIT", 0, 1)
        if due and self.redis.ask("ZREM", "schedule", due[0]):
            self.redis.ask("LPUSH", "queue:default", due[0])
        found = self.redis.ask("RPOP", "queue:default")
        if not found:
            return None
        self.redis.ask("INCR", "stat:processed")
        job = json.loads(found)
        return job["jid"], job["args"][0]

    def queued(self):
        waiting = self.redis.ask("LRANGE", "queue:default", 0, -1)
        later = self.redis.ask("ZRANGE", "schedule", 0, -1) + self.redis.ask("ZRANGE", "retry", 0, -1)
        return [json.loads(job)["jid"] for job in waiting], [json.loads(job)["jid"] for job in later]

    def post(self, user, text):
        answer = super().post(user, text)
        # The home feed, which can be built again, and a cached page, which goes by itself.
        self.redis.ask("ZADD", f"feed:home:{user}", answer["id"], answer["id"])
        self.redis.ask("SET", f"cache:statuses/{answer['id']}", text, "EX", 3600)
        return answer

    def pages(self):
        handles = self.config["handleDomain"]
        vapid = secret("vapid").split(":")[1]
        return {
            "/health": {"status": "UP"},
            "/api/v2/instance": {
                "domain": handles,
                "version": "4.6.7+stand-in",
                "configuration": {"vapid": {"public_key": vapid}},
            },
            "/api/v1/streaming/health": "OK",
        }

    def facts(self):
        salt = self.database.value("SELECT md5(prosrc) FROM pg_proc WHERE proname = 'timestamp_id'")
        vapid = self.pages()["/api/v2/instance"]["configuration"]["vapid"]["public_key"]
        return {**super().facts(), "salt of the ids": salt, "web push key": vapid}

    # What other units run.

    def init_dirs(self):
        """The environment of Rails, out of delivered keys; none is made here."""
        names = ("secret-key-base", "are-primary-key", "are-deterministic-key", "are-key-derivation-salt")
        lines = "".join(f"{name.upper().replace('-', '_')}={secret(name)}\n" for name in names)
        file = HOME / ".secrets_env"
        file.unlink(missing_ok=True)
        file.touch(mode=0o600)
        file.write_text(lines)
        if not self.config["media"] or self.config["media"]["store"] == "local":
            (HOME / "public-system").mkdir(exist_ok=True)

    def build_feeds(self):
        """The home feeds, out of the database."""
        for user, status in self.database.rows(
            "SELECT users.id, statuses.id FROM users JOIN statuses USING (account_id)"
        ):
            self.redis.ask("ZADD", f"feed:home:{user}", status, status)

    def forget_remote_media(self):
        """What of other servers' media is kept here; in a bucket it is the bucket's to expire."""
        shutil.rmtree(HOME / "public-system/cache", ignore_errors=True)

    def stream(self):
        """The streaming server: it only says that it is there."""
        serve(self, 4000)
