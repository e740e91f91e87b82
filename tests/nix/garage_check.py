"""Asks a real Garage how it takes what the S3 libraries of the applications send: access
lists, which it does not know, and checksums of the newer kind. Uses the Garage that
`make setup` keeps in the cache."""

import base64
import datetime
import hashlib
import hmac
import pathlib
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import zlib

from scripts_check import CACHE

KEY, SECRET = "GK" + "1" * 24, "2" * 64

SETTINGS = """
metadata_dir = "{folder}/meta"
data_dir = "{folder}/data"
db_engine = "sqlite"
replication_factor = 1
rpc_bind_addr = "127.0.0.1:{rpc}"
rpc_public_addr = "127.0.0.1:{rpc}"
rpc_secret = "{secret}"
[s3_api]
s3_region = "garage"
api_bind_addr = "127.0.0.1:{s3}"
"""


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [it.getsockname()[1] for it in sockets]
    for it in sockets:
        it.close()
    return ports


def request(port, method, path, body=b"", query="", payload=None, **headers):
    """Status and body of a request that is signed as AWS's version 4 has it."""
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    headers |= {
        "host": f"127.0.0.1:{port}",
        "x-amz-date": now,
        "x-amz-content-sha256": payload or hashlib.sha256(body).hexdigest(),
    }
    names = ";".join(sorted(headers))
    lines = [f"{name}:{headers[name]}" for name in sorted(headers)]
    canonical = "\n".join([method, path, query, *lines, "", names, headers["x-amz-content-sha256"]])
    scope = f"{now[:8]}/garage/s3/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = b"AWS4" + SECRET.encode()
    for word in (*scope.split("/"), text):
        key = hmac.new(key, word.encode(), "sha256").digest()
    headers["authorization"] = f"AWS4-HMAC-SHA256 Credential={KEY}/{scope}, SignedHeaders={names}, Signature={key.hex()}"
    url = f"http://127.0.0.1:{port}{path}" + (f"?{query}" if query else "")
    data = None if method == "GET" else body
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=data, headers=headers, method=method)) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def set_up(run, server):
    """A layout, a key and a bucket; what went wrong, if something did."""
    node = run("node", "id", "-q")
    while server.poll() is None and run("status").returncode != 0:
        time.sleep(0.1)
        node = run("node", "id", "-q")
    for command in (
        ["layout", "assign", "-z", "zone1", "-c", "1G", node.stdout.split("@")[0].strip()],
        ["layout", "apply", "--version", "1"],
        ["key", "import", "--yes", "-n", "media", KEY, SECRET],
        ["bucket", "create", "media"],
        ["bucket", "allow", "--read", "--write", "--owner", "media", "--key", KEY],
    ):
        made = run(*command)
        if made.returncode != 0:
            return f"garage {command[0]} {command[1]}: {made.stderr}"
    return None


def check(skip):
    program = CACHE / "tools" / "bin" / "garage"
    if not program.is_file():
        skip("no Garage in the cache (`make setup`): access lists and checksums are not tried")
        return
    with tempfile.TemporaryDirectory(prefix="fedi-garage-") as folder:
        folder = pathlib.Path(folder)
        rpc, port = free_ports(2)
        file = folder / "garage.toml"
        file.touch(mode=0o600)
        file.write_text(SETTINGS.format(folder=folder, rpc=rpc, s3=port, secret="ab" * 32))

        def run(*words):
            return subprocess.run([program, "-c", file, *words], capture_output=True, text=True, check=False)

        with open(folder / "log", "w", encoding="utf-8") as log:
            server = subprocess.Popen([program, "-c", file, "server"], stdout=log, stderr=log)
            try:
                problem = set_up(run, server)
                yield "a Garage to ask", problem
                if problem is None:
                    yield from answers(port)
            finally:
                server.terminate()
                server.wait()


def answers(port):
    def kept(name, status):
        found = request(port, "GET", name)
        return None if status == 200 and found == (200, b"hi") else f"{status}, then {found}"

    for acl in ("public-read", "private"):
        status, _ = request(port, "PUT", f"/media/{acl}", b"hi", x_amz_acl=acl)
        yield f"Garage takes an upload with the access list {acl}", kept(f"/media/{acl}", status)
    status, _ = request(port, "PUT", "/media/public-read", query="acl=", x_amz_acl="private")
    yield "Garage refuses to change an access list", None if status >= 400 else f"status {status}"

    crc = base64.b64encode(zlib.crc32(b"hi").to_bytes(4, "big")).decode()
    kind = {"x_amz_sdk_checksum_algorithm": "CRC32"}
    status, _ = request(port, "PUT", "/media/header", b"hi", x_amz_checksum_crc32=crc, **kind)
    yield "Garage 2 takes a checksum in a header", kept("/media/header", status)
    chunks = b"2\r\nhi\r\n0\r\nx-amz-checksum-crc32:" + crc.encode() + b"\r\n\r\n"
    status, _ = request(
        port, "PUT", "/media/trailer", chunks, payload="STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        x_amz_trailer="x-amz-checksum-crc32", content_encoding="aws-chunked", x_amz_decoded_content_length="2", **kind,
    )
    yield "Garage 2 takes a checksum behind the body", kept("/media/trailer", status)
    wrong = base64.b64encode(b"\0\0\0\0").decode()
    status, _ = request(port, "PUT", "/media/wrong", b"hi", x_amz_checksum_crc32=wrong, **kind)
    yield "Garage 2 looks at the checksum", None if status == 400 else f"status {status}"
