"""A client of Redis on the server's socket (RESP2)."""

import socket
import threading


class RedisError(Exception):
    """What the server refused, in its own words."""


class Redis:
    """One connection, shared by all threads, opened when it is first needed."""

    def __init__(self, instance):
        self.path = f"/run/redis-{instance}/redis.sock"
        self.lock = threading.Lock()
        self.stream = None

    def ask(self, *words):
        """Sends one command; returns str, int, None or a list of those."""
        data = [str(word).encode() for word in words]
        line = b"*%d\r\n" % len(data) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in data)
        with self.lock:
            try:
                if not self.stream:
                    connection = socket.socket(socket.AF_UNIX)
                    connection.connect(self.path)
                    self.stream = connection.makefile("rwb")
                self.stream.write(line)
                self.stream.flush()
                return self.answer()
            except (OSError, EOFError):
                self.stream = None
                raise

    def answer(self):
        line = self.stream.readline()
        if not line:
            raise EOFError("Redis ended the connection")
        kind, rest = line[:1], line[1:].strip()
        if kind == b"-":
            raise RedisError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"+":
            return rest.decode()
        if rest == b"-1":
            return None
        if kind == b"*":
            return [self.answer() for _ in range(int(rest))]
        return self.stream.read(int(rest) + 2)[:-2].decode()
