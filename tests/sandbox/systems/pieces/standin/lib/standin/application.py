"""What the stand-ins have in common. An application says in SQL and names where its state lies; see
`apps/mastodon` for the real thing."""

import json
import os
import pathlib
import secrets
import subprocess

from standin.postgres import Database
from standin.redis import Redis
from standin.seal import fits, hashed

SYSTEM = pathlib.Path("/run/current-system")


class Refused(Exception):
    """A request that is refused: status and reason."""

    def __init__(self, status, reason):
        super().__init__(reason)
        self.status = status


def secret(name):
    """A delivered secret, as systemd hands it over."""
    return (pathlib.Path(os.environ["CREDENTIALS_DIRECTORY"]) / f"secrets_{name}").read_text().strip()


def key_pair():
    """A new RSA pair, both halves in PEM."""
    make = ["openssl", "genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]
    private = subprocess.run(make, check=True, capture_output=True, text=True).stdout
    public = ["openssl", "pkey", "-pubout"]
    return private, subprocess.run(public, input=private, check=True, capture_output=True, text=True).stdout


class Application:
    """Base of the stand-ins. `sql` has one statement for each piece of work below."""

    name = ""
    port = 0
    #: The client of the database that it keeps its rows in.
    Database = Database
    #: Name of the first administrator where the application makes it by itself.
    first_admin = None
    sql = {}

    def __init__(self):
        self.config = json.loads((SYSTEM / "etc/standin.json").read_text())
        self.domain = self.config["domain"]
        self.database = self.Database(self.name)
        self.redis = Redis(self.name)

    # What an application says itself.

    def seal(self, text):
        """An encrypted column's value."""
        raise NotImplementedError

    def unseal(self, value):
        raise NotImplementedError

    def store(self, user, name, data, kind):
        """Keeps an upload; returns the path that the database keeps."""
        raise NotImplementedError

    def address(self, path):
        """The public address of an upload."""
        raise NotImplementedError

    def pages(self):
        """Public pages: path -> text, or a value for JSON."""
        raise NotImplementedError

    # What all do.

    def seed(self):
        """The schema and what belongs in it from the beginning, into an empty database only."""
        if not self.database.is_empty():
            return False
        schema = (SYSTEM / self.database.schema).read_text()
        self.database.script(schema.replace("@salt@", secrets.token_hex(16)))
        return True

    def add_user(self, login, email, password):
        if self.database.row(self.sql["user"], login):
            return
        private, public = key_pair()
        self.database.rows(self.sql["add user"], login, email, hashed(password), private, public)

    def log_in(self, login, password):
        found = self.database.row(self.sql["user"], login)
        if not found or not fits(password, found[1]):
            raise Refused(401, "Wrong login or password")
        token = self.new_token()
        self.database.rows(self.sql["add token"], token, found[0])
        return {"token": token}

    def new_token(self):
        return secrets.token_urlsafe(32)

    def user_of(self, token):
        found = self.database.row(self.sql["user of token"], token)
        if not found:
            raise Refused(401, "The access token is not valid")
        return found[0]

    def post(self, user, text):
        number = self.database.value(self.sql["add post"], user, text, f"https://{self.domain}/posts/")
        return {"id": number}

    def read(self, number):
        text = self.database.value(self.sql["post"], number)
        if text is None:
            raise Refused(404, "No such post")
        return {"id": number, "text": text}

    def upload(self, user, data, kind):
        path = self.store(user, secrets.token_hex(8), data, kind)
        number = self.database.value(self.sql["add media"], user, path, len(data), kind)
        return {"id": number, "url": self.address(path)}

    def set_second_factor(self, user, text):
        self.database.rows(self.sql["set second factor"], user, self.seal(text))
        return {}

    def second_factor(self, user):
        value = self.database.value(self.sql["second factor"], user)
        return {"column": value, "text": self.unseal(value)}

    def configure(self, settings):
        raise Refused(404, "This application has no settings to change here")

    def queue(self, what, delay):
        """Queues a piece of work, for now or for `delay` seconds later; returns its id."""
        raise NotImplementedError

    def take(self):
        """The next piece of work as (id, what), or None."""
        raise NotImplementedError

    def queued(self):
        """Ids of queued work: those that wait for a worker, and those for later."""
        raise NotImplementedError

    def jobs(self):
        waiting, later = self.queued()
        done = [list(row) for row in self.database.rows(self.sql["done"])]
        return {"waiting": sorted(waiting), "later": sorted(later), "done": done}

    def work(self):
        """Does the next piece of work; False if there is none."""
        job = self.take()
        if job:
            self.database.rows(self.sql["add done"], *job)
        return bool(job)

    def facts(self):
        """What must be the same after a restore."""
        return {"actor": self.database.value(self.sql["actor"])}
