"""python3 -m standin MODE: the processes of a stand-in's units.

    web             answers requests
    web-and-work    the same, and works on the queues
    work            works on the queues
    seed            the schema into an empty database
    admin           the first administrator: $FEDI_LOGIN, $FEDI_EMAIL and the credential `secrets_admin-password`

Every other word is a method of the application (`application.py` beside this package) without arguments.
"""

import os
import sys
import threading
import time

from app import App
from standin import web
from standin.application import secret


def work(application):
    while True:
        try:
            busy = application.work()
        except (OSError, EOFError) as error:
            print(f"trying again: {error}", file=sys.stderr)
            busy = False
        if not busy:
            time.sleep(0.3)


def main():
    application, mode = App(), sys.argv[1]
    if mode in ("web", "web-and-work"):
        if mode != "web":
            threading.Thread(target=work, args=(application,), daemon=True).start()
        web.serve(application, application.port)
    elif mode == "work":
        work(application)
    elif mode == "seed":
        application.seed()
    elif mode == "admin":
        application.add_user(os.environ["FEDI_LOGIN"], os.environ["FEDI_EMAIL"], secret("admin-password"))
    else:
        getattr(application, mode)()


main()
