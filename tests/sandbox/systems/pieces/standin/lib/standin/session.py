"""What the stand-ins' sessions with their databases share."""

import threading


class Session:
    """One session, shared by all threads, opened when it is first needed. `rows` is the server's own."""

    def __init__(self, name):
        self.name = name
        self.lock = threading.Lock()
        self.session = None

    def row(self, statement, *values):
        found = self.rows(statement, *values)
        return found[0] if found else None

    def value(self, statement, *values):
        found = self.row(statement, *values)
        return found[0] if found else None
