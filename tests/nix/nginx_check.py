"""Gives the virtual hosts to a real nginx: does it take them, and does it answer as it
should while the application is stopped?

Runs in a container of the root that sandbox guests boot from; without TLS, which is
nixpkgs' part.
"""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile

from gate_boot import root_of_guests


def server(name, host):
    text = [f"server {{\n  listen 127.0.0.1:8080;\n  server_name {' '.join([name, *host['serverAliases']])};"]
    if host["root"]:
        text.append("  root /var/empty;")
    text.append(host["extraConfig"])
    for path, location in host["locations"].items():
        text.append(f"  location {path} {{")
        if location["proxyPass"]:
            text.append(f"    proxy_pass {location['proxyPass']};")
        if location["return"] is not None:
            text.append(f"    return {location['return']};")
        if location["alias"]:
            text.append(f"    alias {location['alias']};")
        if location["tryFiles"]:
            text.append(f"    try_files {location['tryFiles']};")
        text.append(location["extraConfig"] + "\n  }")
    text.append("}")
    return "\n".join(text)


def configuration(system):
    # PeerTube's is defined by nixpkgs' module without the stand-in naming its servers.
    names = set(system["upstreams"]) | {"peertube"}
    upstreams = "\n".join(f"upstream {name} {{ server 127.0.0.1:9; }}" for name in sorted(names))
    hosts = "\n".join(server(name, host) for name, host in sorted(system["hosts"].items()))
    return (
        "user root;\nworker_processes 1;\npid /tmp/nginx.pid;\nerror_log stderr;\nevents {}\n"
        f"http {{\naccess_log off;\nserver_names_hash_bucket_size 128;\n{upstreams}\n{hosts}\n}}\n"
    )


# (system, host, method, path, status, header, part of the body)
ANSWERS = [
    ("matrix-bucket", "example.test", "GET", "/.well-known/matrix/server", 200, ("access-control-allow-origin", "*"), '{"m.server":"matrix.example.test:443"}'),
    ("matrix-bucket", "example.test", "GET", "/.well-known/matrix/client", 200, ("content-type", "application/json"), "https://matrix.example.test"),
    ("matrix-bucket", "matrix.example.test", "GET", "/_matrix/client/versions", 503, ("retry-after", "120"), ""),
    ("matrix-bucket", "matrix.example.test", "GET", "/_synapse/admin/v1/users", 404, None, ""),
    ("matrix-bucket", "matrix.example.test", "GET", "/#drained", 503, ("retry-after", "120"), ""),
    ("peertube-local", "peertube.example.test", "GET", "/anything#drained", 503, ("retry-after", "120"), ""),
    ("matrix-local", "matrix.example.test", "GET", "/.well-known/matrix/server", 200, ("access-control-allow-origin", "*"), "matrix.example.test:443"),
    ("mastodon-bucket", "example.test", "GET", "/.well-known/webfinger?resource=acct:a@example.test", 301, ("location", "https://mastodon.example.test/.well-known/webfinger?resource=acct:a@example.test"), ""),
    ("mastodon-bucket", "example.test", "GET", "/.well-known/webfinger", 301, ("access-control-allow-origin", "*"), ""),
    ("mastodon-bucket", "mastodon.example.test", "GET", "/api/v2/instance", 503, ("retry-after", "120"), ""),
    ("mastodon-bucket", "media.mastodon.example.test", "PUT", "/x", 403, None, ""),
    ("mastodon-local", "mastodon.example.test", "GET", "/", 503, ("retry-after", "120"), ""),
    ("peertube-local", "peertube.example.test", "GET", "/", 503, ("retry-after", "120"), ""),
    ("garage-buckets", "s3.garage.example.test", "GET", "/", 503, ("retry-after", "120"), ""),
    ("garage-buckets", "mastodon-media.s3.garage.example.test", "GET", "/", 503, ("retry-after", "120"), ""),
    ("garage-buckets", "mastodon-media.web.garage.example.test", "PUT", "/x", 403, None, ""),
]


def check(systems, skip):
    guests = root_of_guests()
    if os.geteuid() != 0 or not shutil.which("systemd-nspawn") or guests is None or not (guests / "usr/sbin/nginx").exists():
        skip("no root, systemd-nspawn or sandbox guest root: virtual hosts are not given to nginx")
        return
    with tempfile.TemporaryDirectory(prefix="fedi-nginx-") as folder:
        folder = pathlib.Path(folder)
        script = ["#!/bin/bash", "cd /test", "mkdir -p /var/empty"]
        for title, system in sorted(systems.items()):
            (folder / f"{title}.conf").write_text(configuration(system))
            script.append(f"nginx -t -c /test/{title}.conf > {title}.test 2>&1 || touch {title}.refused")
            wanted = [(index, it) for index, it in enumerate(ANSWERS) if it[0] == title]
            if not wanted:
                continue
            script.append(f"[ -e {title}.refused ] || nginx -c /test/{title}.conf 2> {title}.log")
            for index, (_, host, method, path, *_rest) in wanted:
                # `#` after a path: while queued work runs out.
                path, drained = path.removesuffix("#drained"), path.endswith("#drained")
                script.append("mkdir -p /run/fedi; touch /run/fedi/maintenance" if drained else "rm -f /run/fedi/maintenance")
                script.append(
                    f"curl --silent --max-time 10 --request {method} --header 'Host: {host}' "
                    f"--dump-header {index}.head --output {index}.body 'http://127.0.0.1:8080{path}'"
                )
            script.append("[ ! -e /tmp/nginx.pid ] || { pid=$(cat /tmp/nginx.pid); kill $pid; tail --pid=$pid -f /dev/null; }")
        script.append("touch done")
        (folder / "script").write_text("\n".join(script) + "\n")
        subprocess.run(
            ["systemd-nspawn", "--quiet", f"--directory={guests}", "--volatile=overlay", "--register=no", "--keep-unit",
             "--private-network", "--console=pipe", "--machine=fedi-nginx", "--resolv-conf=off", "--settings=no",
             f"--bind={folder}:/test", "/bin/bash", "/test/script"],
            capture_output=True, text=True, timeout=180, stdin=subprocess.DEVNULL, check=False,
        )
        if not (folder / "done").exists():
            yield "nginx in a container", "it did not come to an end"
            return
        for title in sorted(systems):
            refused = (folder / f"{title}.refused").exists()
            yield f"nginx takes the virtual hosts of {title}", (folder / f"{title}.test").read_text() if refused else None
        for index, (title, host, method, path, status, header, part) in enumerate(ANSWERS):
            head, body = folder / f"{index}.head", folder / f"{index}.body"
            lines = head.read_text().lower().splitlines() if head.exists() else []
            good = bool(lines) and lines[0].split()[1] == str(status)
            good = good and (header is None or f"{header[0]}: {header[1]}".lower() in lines)
            good = good and (not part or (body.exists() and part in body.read_text()))
            yield f"{method} {host}{path} answers {status} ({title})", None if good else "\n".join(lines)


if __name__ == "__main__":
    import sys

    for result in check(json.load(sys.stdin), print):
        print(result)
