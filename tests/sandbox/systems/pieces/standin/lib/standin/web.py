"""The HTTP side of a stand-in: its application's public pages, and below /standin/ what tests ask of it."""

import http.server
import json
import traceback
import urllib.parse

from standin.application import Refused
from standin.seal import WrongKey


class Handler(http.server.BaseHTTPRequestHandler):
    application = None
    protocol_version = "HTTP/1.1"

    def version_string(self):
        return f"fedi-stand-in-for-{self.application.name}"

    def log_message(self, *arguments):
        """Nothing: the journal is for what goes wrong."""

    def do_GET(self):
        self.respond()

    def do_POST(self):
        self.respond()

    def respond(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            status, value = 200, self.route(urllib.parse.urlsplit(self.path).path, body)
        except Refused as refusal:
            status, value = refusal.status, {"error": str(refusal)}
        except WrongKey as error:
            status, value = 500, {"error": str(error)}
        except Exception as error:  # What the server cannot do, the journal explains.
            traceback.print_exc()
            status, value = 500, {"error": type(error).__name__}
        text = isinstance(value, str)
        data = value.encode() if text else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if text else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def route(self, path, body):
        app = self.application
        if not path.startswith("/standin/"):
            if path == "/.well-known/nodeinfo":
                return {"links": [{"rel": "http://nodeinfo.diaspora.software/ns/schema/2.0"}]}
            pages = app.pages()
            if path not in pages:
                raise Refused(404, "No such page")
            return pages[path]
        what, _, rest = path.removeprefix("/standin/").partition("/")
        given = json.loads(body) if body and what != "media" else {}
        if what == "login":
            return app.log_in(given["login"], given["password"])
        if what == "facts":
            return app.facts()
        user = app.user_of(self.headers.get("Authorization", "").removeprefix("Bearer "))
        match self.command, what:
            case "POST", "posts":
                return app.post(user, given["text"])
            case "GET", "posts":
                return app.read(rest)
            case "POST", "media":
                return app.upload(user, body, self.headers.get("Content-Type", "application/octet-stream"))
            case "POST", "second-factor":
                return app.set_second_factor(user, given["text"])
            case "GET", "second-factor":
                return app.second_factor(user)
            case "POST", "jobs":
                return {"id": app.queue(given["what"], given.get("delay", 0))}
            case "GET", "jobs":
                return app.jobs()
            case "POST", "settings":
                return app.configure(given)
        raise Refused(404, "The stand-in has nothing there")


def serve(application, port):
    Handler.application = application
    http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
