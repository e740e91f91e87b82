"""The stand-in for PeerTube: its state as PeerTube keeps it (apps/peertube)."""

import json
import pathlib
import time
import uuid

from standin.application import Application, Refused, SYSTEM, secret
from standin.seal import key_of, seal, unseal

HOME = pathlib.Path("/var/lib/peertube")
STORAGE = HOME / "storage"
#: What an administrator changed in the browser; it wins over what the system declares.
EDITED = HOME / "config/local-production.json"
FOLDERS = (
    "avatars bin cache captions client_overrides logs original_video_files plugins redundancy storyboards"
    " streaming_playlists thumbnails tmp tmp_persistent torrents uploads web_videos well_known"
)


class App(Application):
    name = "peertube"
    port = 9000
    sql = {
        "user": 'SELECT id, password FROM "user" WHERE username = $1',
        "add user": """WITH one AS (INSERT INTO "user" (username, email, password, role)
              VALUES ($1, $2, $3, 0) RETURNING id, username),
            two AS (INSERT INTO actor ("preferredUsername", "privateKey", "publicKey")
              VALUES ($1, $4, $5) RETURNING id)
            INSERT INTO account (name, "actorId", "userId") SELECT username, two.id, one.id FROM one, two""",
        "add token": 'INSERT INTO "oAuthToken" ("accessToken", "userId") VALUES ($1, $2::integer)',
        "user of token": 'SELECT "userId" FROM "oAuthToken" WHERE "accessToken" = $1',
        "add post": """INSERT INTO "videoComment" ("accountId", text, url)
            SELECT id, $2, $3 || gen_random_uuid() FROM account WHERE "userId" = $1::integer RETURNING id""",
        "post": 'SELECT text FROM "videoComment" WHERE id = $1::integer',
        "add media": """WITH new AS (INSERT INTO video (name, "accountId")
              SELECT 'Vidéo ' || $4::text, id FROM account WHERE "userId" = $1::integer RETURNING id)
            INSERT INTO "videoFile" (filename, size, extname, "videoId")
              SELECT $2, $3::bigint, '.mp4', id FROM new RETURNING id""",
        "set second factor": 'UPDATE "user" SET "otpSecret" = $2 WHERE id = $1::integer',
        "second factor": 'SELECT "otpSecret" FROM "user" WHERE id = $1::integer',
        "add done": 'INSERT INTO "userNotification" ("jobId", what) VALUES ($1, $2)',
        "done": 'SELECT id, "jobId", what FROM "userNotification" ORDER BY id',
        "actor": 'SELECT "publicKey" FROM actor ORDER BY id LIMIT 1',
    }

    def __init__(self):
        super().__init__()
        # BullMQ's keys begin with the host, as PeerTube has it.
        self.jobs_at = f"bull-{self.domain}:activitypub-http-unicast"

    # An encrypted column: the nonce, a colon, and the rest, in hexadecimal digits.

    def seal(self, text):
        nonce, sealed, tag = seal(key_of(secret("secret"), "salt"), text)
        return f"{nonce.hex()}:{(tag + sealed).hex()}"

    def unseal(self, value):
        nonce, rest = (bytes.fromhex(part) for part in value.split(":"))
        return unseal(key_of(secret("secret"), "salt"), nonce, rest[32:], rest[:32])

    def store(self, user, name, data, kind):
        file = f"{uuid.uuid4()}.mp4"
        (STORAGE / "web_videos" / file).write_bytes(data)
        return file

    def address(self, path):
        return f"https://{self.domain}/static/web-videos/{path}"

    # BullMQ: a list of ids that wait, a sorted set of those for later, a hash for each.

    def queue(self, what, delay):
        number = str(self.redis.ask("INCR", f"{self.jobs_at}:id"))
        self.redis.ask("HSET", f"{self.jobs_at}:{number}", "name", "job", "data", json.dumps({"what": what}))
        if delay:
            self.redis.ask("ZADD", f"{self.jobs_at}:delayed", time.time() + delay, number)
        else:
            self.redis.ask("LPUSH", f"{self.jobs_at}:wait", number)
        return number

    def take(self):
        due = self.redis.ask("ZRANGEBYSCORE", f"{self.jobs_at}:delayed", "-inf", time.time(), "LIMIT", 0, 1)
        if due and self.redis.ask("ZREM", f"{self.jobs_at}:delayed", due[0]):
            self.redis.ask("LPUSH", f"{self.jobs_at}:wait", due[0])
        number = self.redis.ask("RPOP", f"{self.jobs_at}:wait")
        if not number:
            return None
        data = json.loads(self.redis.ask("HGET", f"{self.jobs_at}:{number}", "data"))
        self.redis.ask("DEL", f"{self.jobs_at}:{number}")
        return number, data["what"]

    def queued(self):
        waiting = self.redis.ask("LRANGE", f"{self.jobs_at}:wait", 0, -1)
        later = self.redis.ask("ZRANGE", f"{self.jobs_at}:delayed", 0, -1)
        # Each with its data, or it could not be done.
        for number in waiting + later:
            if not self.redis.ask("EXISTS", f"{self.jobs_at}:{number}"):
                raise Refused(500, f"The data of job {number} is missing")
        return waiting, later

    def instance_name(self):
        if EDITED.exists():
            return json.loads(EDITED.read_text())["instance"]["name"]
        return self.config["name"]

    def configure(self, settings):
        if not self.config["webConfiguration"]:
            raise Refused(403, "Settings are declared, and not changed here")
        new = EDITED.with_suffix(".new")
        new.write_text(json.dumps({"instance": {"name": settings["name"]}}))
        new.rename(EDITED)
        return {}

    def pages(self):
        return {
            "/api/v1/ping": "pong",
            "/api/v1/config": {"serverVersion": "8.2.4", "instance": {"name": self.instance_name()}},
            "/api/v1/accounts/root": {"name": "root", "host": self.domain},
        }

    def facts(self):
        client = self.database.value('SELECT "clientId" FROM "oAuthClient"')
        return {**super().facts(), "OAuth client": client, "instance name": self.instance_name()}

    def prepare(self):
        """What PeerTube does at a start: folders, the file of secrets, and once the schema and `root`."""
        for folder in FOLDERS.split():
            (STORAGE / folder).mkdir(parents=True, exist_ok=True)
        config = HOME / "config"
        config.mkdir(exist_ok=True)
        production = config / "production.json"
        production.unlink(missing_ok=True)
        production.symlink_to(SYSTEM / "etc/standin.json")
        local = config / "local.yaml"
        local.unlink(missing_ok=True)
        local.touch(mode=0o600)
        local.write_text(f"secrets:\n  peertube: '{secret('secret')}'\n")
        if self.seed():
            self.add_user("root", self.config["email"] or f"root@{self.domain}", secret("admin-password"))
