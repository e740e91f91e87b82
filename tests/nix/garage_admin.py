"""A stand-in for Garage's admin API (v2), as far as apps/garage/provision.sh uses it:
enough state to tell whether a second run changes anything."""

import http.server
import json
import threading
import urllib.parse


class State:
    def __init__(self, token):
        self.token = token
        self.node = "ab" * 32
        self.version = 0
        self.roles = []
        self.staged = []
        self.keys = {}
        self.buckets = {}
        self.writes = []


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *arguments):
        pass

    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, status=404):
        self.answer(status, {"code": "NoSuchThing"})

    def allowed(self):
        return self.headers.get("Authorization") == f"Bearer {self.server.state.token}"

    def do_GET(self):
        state, url = self.server.state, urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        if not self.allowed():
            return self.refuse(403)
        if url.path == "/v2/GetClusterStatus":
            return self.answer(200, {"layoutVersion": state.version, "nodes": [{"id": state.node}]})
        if url.path == "/v2/GetClusterLayout":
            layout = {"version": state.version, "roles": state.roles, "stagedRoleChanges": state.staged}
            return self.answer(200, layout)
        if url.path == "/v2/GetKeyInfo":
            key = state.keys.get(query["id"])
            return self.answer(200, key) if key else self.refuse()
        if url.path == "/v2/GetBucketInfo":
            for bucket in state.buckets.values():
                if query["globalAlias"] in bucket["globalAliases"]:
                    return self.answer(200, bucket)
        return self.refuse()

    def do_POST(self):
        state, url = self.server.state, urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.allowed():
            return self.refuse(403)
        verb = url.path.removeprefix("/v2/")
        state.writes.append((verb, body))
        if verb == "UpdateClusterLayout":
            state.staged = body["roles"]
        elif verb == "ApplyClusterLayout":
            if body["version"] != state.version + 1:
                return self.refuse(400)
            state.roles, state.staged, state.version = state.staged, [], body["version"]
        elif verb == "ImportKey":
            if body["accessKeyId"] in state.keys:
                return self.refuse(409)
            state.keys[body["accessKeyId"]] = body
        elif verb == "CreateBucket":
            identity = f"{len(state.buckets):064x}"
            bucket = {"id": identity, "globalAliases": [body["globalAlias"]], "keys": {}}
            state.buckets[identity] = bucket
            return self.answer(200, bucket)
        elif verb == "AllowBucketKey":
            state.buckets[body["bucketId"]]["keys"][body["accessKeyId"]] = body["permissions"]
        elif verb == "UpdateBucket":
            state.buckets[query["id"]].update(body)
        elif verb == "AddBucketAlias":
            aliases = state.buckets[body["bucketId"]]["globalAliases"]
            if body["globalAlias"] in aliases:
                return self.refuse(409)
            aliases.append(body["globalAlias"])
        else:
            return self.refuse()
        return self.answer(200, {})


class Garage:
    """Runs on a free port of the loopback address while the `with` block lasts."""

    def __init__(self, token):
        self.state = State(token)

    def __enter__(self):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.state = self.state
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
