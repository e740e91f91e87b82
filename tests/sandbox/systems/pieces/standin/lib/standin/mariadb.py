"""MariaDB, as the stand-ins need it: over the server's socket, as the user that the process runs as."""

import re

import pymysql

from standin.session import Session


class SocketAuthentication:
    """The server knows who asks by the socket itself, so it is told nothing."""

    def __init__(self, connection):
        self.connection = connection

    def authenticate(self, _packet):
        self.connection.write_packet(b"")
        return self.connection._read_packet()


class Database(Session):
    schema = "etc/schema-mariadb.sql"

    def rows(self, statement, *values):
        """Runs statements with $1, $2, ..., separated by semicolons, all or nothing; returns the rows of the last,
        each a tuple of str or None."""
        with self.lock:
            try:
                self.open()
                found = []
                with self.session.cursor() as cursor:
                    for part in statement.split(";"):
                        places = [int(place) for place in re.findall(r"\$(\d)", part)]
                        text = re.sub(r"\$\d", "%s", part.replace("%", "%%"))
                        cursor.execute(text, [values[place - 1] for place in places])
                        found = cursor.fetchall()
                self.session.commit()
            except pymysql.err.OperationalError as error:
                self.session = None
                raise OSError(str(error)) from error
            except pymysql.err.Error:
                self.session.rollback()
                raise
        return [tuple(None if value is None else str(value) for value in row) for row in found]

    def is_empty(self):
        tables = "SELECT count(*) FROM information_schema.tables WHERE table_schema = database()"
        return self.value(tables) == "0"

    def script(self, statements):
        """Runs several statements. Tables are made one by one: this server undoes none."""
        self.rows(statements.strip().removesuffix(";"))

    def open(self):
        if not self.session:
            self.session = pymysql.connect(
                unix_socket="/run/mysqld/mysqld.sock",
                user=self.name,
                database=self.name,
                charset="utf8mb4",
                auth_plugin_map={"unix_socket": SocketAuthentication},
            )
