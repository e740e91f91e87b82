# SPDX-License-Identifier: AGPL-3.0-or-later
"""A worker that plans and applies DNS records through octoDNS's Manager.

One JSON request per line on stdin, one JSON answer per line on stdout. The
parent process writes these files to a private directory and runs this one with
an interpreter that has octoDNS; nothing here knows what the records are for.

What octoDNS does not do by itself and this worker adds:

* it sees only the (name, type) pairs the caller owns, and calls a record that
  is wanted but exists and is not owned a conflict, never adopts it;
* it refuses a plan that deletes more than the caller allowed, or that touches
  anything outside the pairs the caller named;
* a zone that does not exist is an error, never created on the way;
* RFC 2136 updates carry prerequisites, so that the server itself refuses when
  a record changed between reading and writing;
* secrets come in over stdin and live in this process's memory only.
"""

import json
import logging
import os
import queue
import shutil
import signal
import socket
import sys
import threading

# Isolated mode leaves the script's own directory out
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

# Only answers go to the parent: what libraries print ends up on stderr
ANSWERS = os.dup(1)
os.dup2(2, 1)

try:
    from fedi_errors import classify, redact
    from fedi_records import as_dict, change_dict, key, values_of
    from fedi_request import Now, Refusal, Request
    from fedi_scope import Capture, ChecksumTap
    from octodns import __version__ as octodns_version
    from octodns.manager import Manager, ManagerException
except ImportError as error:
    message = {'hello': None, 'error': {'class': 'venv', 'msg': str(error)}}
    os.write(ANSWERS, json.dumps(message).encode() + b'\n')
    sys.exit(3)

TARGET = 'target'
# These write a whole file from what they are given and report an empty zone
# when they are a target, so that scoping would erase everything else in it
WHOLE_ZONE = {
    'EtcHostsProvider',
    'SplitYamlProvider',
    'YamlProvider',
    'ZoneFileProvider',
}
GUARDED = {'octodns_bind.Rfc2136Provider', 'octodns_bind.BindProvider'}


def build_manager(request, path):
    config = dict(request.settings)
    config.update({name: f'fedi/{name}' for name in request.secrets})
    config['class'] = (
        'fedi_update.GuardedRfc2136'
        if request.provider_class in GUARDED
        else request.provider_class
    )
    document = {
        'manager': {'enable_checksum': True},
        'secret_handlers': {'fedi': {'class': 'fedi_scope.Secrets'}},
        'providers': {
            'desired': {'class': 'fedi_scope.Desired'},
            TARGET: config,
        },
        'processors': {
            'root-ns': {
                'class': 'octodns.processor.filter.IgnoreRootNsFilter'
            },
            'scope': {'class': 'fedi_scope.Scope'},
        },
        'zones': {
            request.zone: {
                'sources': ['desired'],
                'targets': [TARGET],
                'processors': ['root-ns', 'scope'],
            }
        },
    }
    # JSON is YAML; secrets are not in it
    with open(path, 'w', encoding='utf-8') as file:
        json.dump(document, file, ensure_ascii=False)
    try:
        manager = Manager(path)
    except (ManagerException, TypeError, ValueError, KeyError) as error:
        raise Refusal('config', config_text(error, request, path)) from error
    finally:
        os.unlink(path)
    provider = manager.providers[TARGET]
    names = {c.__name__ for c in type(provider).__mro__}
    if names & WHOLE_ZONE:
        raise Refusal(
            'config',
            f'{request.provider_class} rewrites the whole zone; records of '
            'others in it would be lost',
        )
    if not hasattr(provider, '_apply'):
        raise Refusal('config', f'{request.provider_class} cannot write')
    refuse_missing_zone(provider, request)
    note_writing(provider, request)
    manager.plan_outputs = {'fedi': Capture()}
    return manager


def config_text(error, request, path):
    """octoDNS names its configuration file, which is of no use to anybody."""
    cause = error.__context__
    if isinstance(cause, ImportError):
        return f'no provider {request.provider_class}: {cause}'
    if isinstance(error, ManagerException) and isinstance(cause, TypeError):
        return str(cause)
    return str(error).split(f', {path}')[0]


def refuse_missing_zone(provider, request):
    populate = provider.populate

    def checked(zone, target=False, lenient=False):
        exists = populate(zone, target=target, lenient=lenient)
        if exists is False:
            raise Refusal('not_found', 'the provider has no such zone')
        return exists

    provider.populate = checked


def note_writing(provider, request):
    apply = provider._apply

    def noted(plan):
        request.writing = True
        return apply(plan)

    provider._apply = noted


def current_records(manager, request):
    zone = manager.get_zone(request.zone)
    manager.providers[TARGET].populate(zone, target=True, lenient=True)
    return zone.records


def read(request, path):
    manager = build_manager(request, path)
    records = current_records(manager, request)
    return {'records': [as_dict(r) for r in sorted(records, key=key)]}


def plan(request, path):
    manager = build_manager(request, path)
    manager.sync(eligible_zones=[request.zone], dry_run=True, force=True)
    return {
        'changes': planned(request),
        'conflicts': request.conflicts,
        'checksum': request.computed,
    }


def apply(request, path):
    manager = build_manager(request, path)
    try:
        # our own guards have the say about how much may change, hence force
        manager.sync(
            eligible_zones=[request.zone],
            dry_run=False,
            force=True,
            checksum=request.checksum,
        )
    except Exception as error:
        if request.computed and request.computed != request.checksum:
            raise Refusal(
                'drift',
                'the zone is not as it was planned against',
                changes=planned(request),
            ) from error
        raise
    return {'changes': planned(request)}


def planned(request):
    return [change_dict(c) for p in request.plans for c in p.changes]


def settle(request, path):
    """After a failed write: which changes the zone holds now, if it answers."""
    wanted = [c for p in request.plans for c in p.changes]
    # the failed attempt may have left a broken connection or cache behind
    again = Request(
        {
            'op': 'read',
            'zone': request.zone,
            'provider': {
                'class': request.provider_class,
                'settings': request.settings,
                'secrets': request.secrets,
            },
        }
    )
    Now.request = again
    try:
        records = {
            key(r): values_of(r)
            for r in current_records(build_manager(again, path), again)
        }
    except Exception:
        return None
    finally:
        Now.request = request
    applied, pending = [], []
    for change in wanted:
        now = records.get(key(change.record))
        new = values_of(change.new) if change.new else None
        (applied if now == new else pending).append(list(key(change.record)))
    return {'applied': applied, 'pending': pending}


OPERATIONS = {'read': read, 'plan': plan, 'apply': apply}


def serve(request, path):
    Now.request = request
    socket.setdefaulttimeout(request.timeout)
    try:
        answer = OPERATIONS[request.op](request, path)
        answer['ok'] = True
        return answer
    except Exception as error:
        kind, msg, detail = classify(error)
        detail['class'] = kind
        detail['msg'] = redact(msg, request.secrets)
        detail['exception'] = type(error).__name__
        if request.writing and kind != 'drift':
            detail['effect'] = settle(request, path) or 'unknown'
        return {'ok': False, 'error': detail}
    finally:
        Now.request = None


class RedactingFormatter(logging.Formatter):
    def format(self, record):
        text = super().format(record)
        return redact(text, Now.request.secrets) if Now.request else text


def answer(message):
    line = json.dumps(message).encode() + b'\n'
    while line:
        line = line[os.write(ANSWERS, line) :]


def lines(busy, directory):
    """Request lines; ends the process when the parent is gone in mid-request."""
    received = queue.SimpleQueue()

    def pump():
        for line in sys.stdin.buffer:
            received.put(line)
        if busy.is_set():
            shutil.rmtree(directory, ignore_errors=True)
            os._exit(4)
        received.put(None)

    threading.Thread(target=pump, daemon=True).start()
    return iter(received.get, None)


def main():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.umask(0o077)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(RedactingFormatter('%(levelname)s %(name)s %(message)s'))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    tap = logging.getLogger('Checksum')
    tap.addHandler(ChecksumTap())
    tap.propagate = False
    directory = os.path.dirname(os.path.abspath(__file__))
    path = os.path.join(directory, f'config-{os.getpid()}.yaml')

    answer({'hello': {'octodns': octodns_version}})
    busy = threading.Event()
    for line in lines(busy, directory):
        if not line.strip():
            continue
        busy.set()
        data = {}
        try:
            data = json.loads(line)
            result = serve(Request(data), path)
        except (ValueError, KeyError, TypeError) as error:
            result = {
                'ok': False,
                'error': {
                    'class': 'protocol',
                    'msg': f'bad request: {type(error).__name__}',
                },
            }
        result['id'] = data.get('id') if isinstance(data, dict) else None
        busy.clear()
        answer(result)
    # a parent that was killed cannot do it
    shutil.rmtree(directory, ignore_errors=True)


if __name__ == '__main__':
    main()
