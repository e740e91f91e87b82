#!/usr/bin/env python3
"""What somebody does with a stand-in, and whether it is all still there later.

    client.py fill DOMAIN NOTES LOGIN PASSWORD_FILE    writes what it did to the file NOTES
    client.py queue DOMAIN NOTES                       queues work while no worker takes it
    client.py check DOMAIN NOTES PASSWORD_FILE         after a restore: says what is not as NOTES says
    client.py media NOTES                              the old media are still read at their addresses
    client.py objects NOTES BASE                       the old media are read at another address
    client.py settings DOMAIN NOTES NAME               changes the instance's name as its administrator does
"""

import hashlib
import json
import os
import pathlib
import sys
import time
import urllib.error
import urllib.parse
import urllib.request


class Site:
    def __init__(self, domain, token=None):
        self.base = f"https://{domain}"
        self.token = token

    def ask(self, path, value=None, data=None, kind="application/json"):
        """The JSON that the site answers to a GET, or with a value to a POST."""
        if value is not None:
            data = json.dumps(value).encode()
        headers = {"Content-Type": kind}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        request = urllib.request.Request(f"{self.base}/standin/{path}", data, headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def log_in(self, login, password):
        self.token = self.ask("login", {"login": login, "password": password})["token"]
        return self.token


def fetched(url):
    with urllib.request.urlopen(url, timeout=60) as answer:
        return hashlib.sha256(answer.read()).hexdigest()


def fill(domain, notes, login, password):
    site = Site(domain)
    known = {"login": login, "token": site.log_in(login, pathlib.Path(password).read_text().strip())}
    known["posts"] = {}
    for number in range(20):
        text = f"Post {number}: Grüße, ' \" \\ \u2603 and a line\nbreak"
        known["posts"][site.ask("posts", {"text": text})["id"]] = text
    known["media"] = {}
    for size in (0, 1, 70_000, 3_000_000):
        data = os.urandom(size)
        url = site.ask("media", data=data, kind="image/png")["url"]
        known["media"][url] = hashlib.sha256(data).hexdigest()
    site.ask("second-factor", {"text": "JBSWY3DPEHPK3PXP"})
    known["second factor"] = site.ask("second-factor")
    # Work that is done at once, and work for tomorrow.
    done = site.ask("jobs", {"what": "at once"})["id"]
    known["later"] = sorted(site.ask("jobs", {"what": f"tomorrow {n}", "delay": 86400})["id"] for n in range(3))
    wait_for(site, done)
    known["done"] = site.ask("jobs")["done"]
    known["facts"] = site.ask("facts")
    pathlib.Path(notes).write_text(json.dumps(known))
    media(notes)
    print(f"{domain}: {len(known['posts'])} posts, {len(known['media'])} media, {len(known['later'])} pieces of work for later")


def wait_for(site, job):
    deadline = time.monotonic() + 60
    while job not in [done[1] for done in site.ask("jobs")["done"]]:
        if time.monotonic() > deadline:
            sys.exit(f"The work {job} was not done in a minute")
        time.sleep(0.2)


def queue(domain, notes):
    """Work that no worker takes for now: its unit is stopped."""
    known = json.loads(pathlib.Path(notes).read_text())
    site = Site(domain, known["token"])
    known["waiting"] = sorted(site.ask("jobs", {"what": f"waiting {n}"})["id"] for n in range(3))
    same("waiting work", site.ask("jobs")["waiting"], known["waiting"])
    pathlib.Path(notes).write_text(json.dumps(known))


def same(what, found, wanted):
    if found != wanted:
        sys.exit(f"{what}: found {found!r:.400}, not {wanted!r:.400}")


def check(domain, notes, password):
    known = json.loads(pathlib.Path(notes).read_text())
    same("what must never be made anew", Site(domain).ask("facts"), known["facts"])
    # The old token first, then the old password.
    site = Site(domain, known["token"])
    for number, text in known["posts"].items():
        same(f"post {number}", site.ask(f"posts/{number}")["text"], text)
    same("the second factor", site.ask("second-factor"), known["second factor"])
    media(notes)
    site.log_in(known["login"], pathlib.Path(password).read_text().strip())
    jobs = site.ask("jobs")
    same("work for later", jobs["later"], known["later"])
    same("the work done before", jobs["done"][: len(known["done"])], known["done"])
    # What waited is done now, each piece once.
    for job in known.get("waiting", []):
        wait_for(site, job)
    wait_for(site, site.ask("jobs", {"what": "afterwards"})["id"])
    done = site.ask("jobs")["done"]
    names = [job[1] for job in done]
    same("work done twice", sorted(set(names)), sorted(names))
    same("work done", len(done), len(known["done"]) + len(known.get("waiting", [])) + 1)
    # Sequences go on, without a number used twice.
    numbers = [int(job[0]) for job in done]
    same("numbers of the work done", numbers, sorted(set(numbers)))
    new = int(site.ask("posts", {"text": "after the restore"})["id"])
    if new <= max(map(int, known["posts"])):
        sys.exit(f"The new post has the number {new}, which is not above the old ones")
    data = os.urandom(50_000)
    url = site.ask("media", data=data, kind="image/png")["url"]
    same("a new upload", fetched(url), hashlib.sha256(data).hexdigest())
    print(f"{domain}: everything is there, and goes on")


def media(notes):
    for url, digest in json.loads(pathlib.Path(notes).read_text())["media"].items():
        try:
            same(url, fetched(url), digest)
        except urllib.error.URLError as error:
            sys.exit(f"{url}: {error}")


def objects(notes, base):
    for url, digest in json.loads(pathlib.Path(notes).read_text())["media"].items():
        same(url, fetched(base + urllib.parse.urlsplit(url).path), digest)


def settings(domain, notes, name):
    known = json.loads(pathlib.Path(notes).read_text())
    site = Site(domain, known["token"])
    site.ask("settings", {"name": name})
    known["facts"] = site.ask("facts")
    pathlib.Path(notes).write_text(json.dumps(known))


if __name__ == "__main__":
    {"fill": fill, "queue": queue, "check": check, "media": media, "objects": objects, "settings": settings}[sys.argv[1]](*sys.argv[2:])
