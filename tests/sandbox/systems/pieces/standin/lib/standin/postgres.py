"""A client of PostgreSQL's protocol (version 3) on the server's socket, as far as the stand-ins need it: values go
as parameters, everything is text."""

import socket
import struct

from standin.session import Session


class PostgresError(Exception):
    """What the server refused, in its own words."""


class Database(Session):
    schema = "etc/schema.sql"

    def rows(self, statement, *values):
        """Runs one statement with $1, $2, ...; returns its rows, each a tuple of str or None."""
        packed = [b"\xff\xff\xff\xff" if value is None else prefixed(str(value).encode()) for value in values]
        bind = b"\0\0" + struct.pack("!hh", 0, len(values)) + b"".join(packed) + struct.pack("!h", 0)
        messages = (
            message(b"P", b"\0" + statement.encode() + b"\0" + struct.pack("!h", 0))
            + message(b"B", bind)
            + message(b"E", b"\0" + struct.pack("!i", 0))
            + message(b"S", b"")
        )
        return self.exchange(messages)

    def is_empty(self):
        return self.value("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == "0"

    def script(self, statements):
        """Runs several statements, all or nothing."""
        self.exchange(message(b"Q", f"BEGIN; {statements}; COMMIT".encode() + b"\0"))

    def exchange(self, messages):
        with self.lock:
            try:
                self.open()
                self.session.write(messages)
                self.session.flush()
                return self.answer()
            except (OSError, EOFError):
                self.session = None
                raise

    def open(self):
        if self.session:
            return
        connection = socket.socket(socket.AF_UNIX)
        connection.connect("/run/postgresql/.s.PGSQL.5432")
        self.session = connection.makefile("rwb")
        words = b"".join(word.encode() + b"\0" for word in ("user", self.name, "database", self.name))
        self.session.write(prefixed(struct.pack("!i", 196608) + words + b"\0", own=4))
        self.session.flush()
        self.answer()

    def answer(self):
        rows, refused = [], None
        while True:
            kind, body = self.receive()
            if kind == b"D":
                rows.append(fields(body))
            elif kind == b"E":
                parts = dict((part[:1], part[1:].decode()) for part in body.split(b"\0") if part)
                refused = parts.get(b"M", "unknown")
            elif kind == b"Z":
                if refused:
                    raise PostgresError(refused)
                return rows

    def receive(self):
        head = self.session.read(5)
        if len(head) < 5:
            raise EOFError("PostgreSQL ended the session")
        return head[:1], self.session.read(struct.unpack("!i", head[1:])[0] - 4)


def prefixed(data, own=0):
    return struct.pack("!i", len(data) + own) + data


def message(kind, body):
    return kind + prefixed(body, own=4)


def fields(body):
    count, place, found = struct.unpack("!h", body[:2])[0], 2, []
    for _ in range(count):
        length = struct.unpack("!i", body[place : place + 4])[0]
        place += 4
        found.append(None if length < 0 else body[place : place + length].decode())
        place += max(length, 0)
    return tuple(found)
