# SPDX-License-Identifier: AGPL-3.0-or-later
"""A worker that plans and applies DNS records through octoDNS's Manager.

One JSON request per line on stdin, one JSON answer per line on stdout. The
parent process writes this file to a private directory and runs it with an
interpreter that has octoDNS; nothing here knows what the records are for.

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

import base64
import binascii
import json
import logging
import os
import queue
import re
import signal
import socket
import ssl
import sys
import threading
from urllib.parse import quote, quote_plus, urlsplit

__version__ = '1'

# octoDNS loads classes by import path; this file is run as a script
sys.modules['fedi_octodns'] = sys.modules[__name__]

# Only answers go to the parent: what libraries print ends up on stderr
ANSWERS = os.dup(1)
os.dup2(2, 1)

try:
    from octodns import __version__ as octodns_version
    from octodns.idna import idna_encode
    from octodns.manager import Manager, ManagerException
    from octodns.processor.base import BaseProcessor
    from octodns.provider import SupportsException
    from octodns.record import Create, Delete, Record
    from octodns.record.base import value_from_rdata_text, value_to_rdata_text
    from octodns.record.exception import RecordException, ValidationError
    from octodns.record.rr import RdataParseError
    from octodns.secret.base import BaseSecrets
    from octodns.source.base import BaseSource
    from octodns.zone import DuplicateRecordException, Zone
    from octodns.zone.exception import ZoneException
except ImportError as error:
    os.write(
        ANSWERS,
        json.dumps(
            {'hello': None, 'error': {'class': 'venv', 'msg': str(error)}}
        ).encode()
        + b'\n',
    )
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
ADDRESS_LIKE = {'A', 'AAAA', 'ALIAS', 'PowerDnsProvider/LUA'}

# The request being served; octoDNS builds its objects by name, so they have
# to find it here
CURRENT = None


class Refusal(Exception):
    """An error whose class we know, with what the caller needs to say it."""

    def __init__(self, kind, msg, **detail):
        super().__init__(msg)
        self.kind = kind
        self.detail = detail


class Request:
    def __init__(self, data):
        self.id = data.get('id')
        self.op = data['op']
        self.zone = data['zone']
        provider = data['provider']
        self.provider_class = provider['class']
        self.settings = provider.get('settings') or {}
        self.secrets = provider.get('secrets') or {}
        self.owned = {(n, t) for n, t in data.get('owned') or []}
        self.desired = data.get('desired') or []
        self.max_deletes = data.get('max_deletes', 0)
        self.checksum = data.get('checksum')
        self.timeout = data.get('timeout', 30)
        # filled while serving
        self.conflicts = []
        self.plans = []
        self.computed = None
        self.writing = False

    @property
    def applying(self):
        return self.op == 'apply'


# -- what octoDNS loads by name ---------------------------------------------


class Secrets(BaseSecrets):
    """`fedi/<name>` in the configuration is the secret of that name."""

    def fetch(self, name, source):
        return CURRENT.secrets[name]


class Desired(BaseSource):
    """The records the caller wants, straight from the request."""

    SUPPORTS_GEO = False
    SUPPORTS_ROOT_NS = True
    SUPPORTS_MULTIVALUE_PTR = True

    def __init__(self, id):
        self.log = logging.getLogger(f'Desired[{id}]')
        super().__init__(id)

    @property
    def SUPPORTS(self):
        return set(Record.registered_types())

    def populate(self, zone, target=False, lenient=False):
        for wanted in CURRENT.desired:
            _type = wanted['type']
            try:
                kind = Record.registered_types()[_type]
            except KeyError:
                raise Refusal(
                    'validation', f'octoDNS has no record type {_type}'
                )
            values = []
            for text in wanted['values']:
                if _type == 'TXT':
                    values.append(kind._value_type.normalize_raw_text(text))
                    continue
                try:
                    values.append(
                        value_from_rdata_text(kind._value_type, text)
                    )
                except RdataParseError:
                    raise Refusal(
                        'validation',
                        f'"{text}" is no {_type} value ({wanted["name"] or "@"})',
                    )
            data = {'type': _type, 'ttl': wanted['ttl']}
            # a type of one value takes no list
            if hasattr(kind, 'data_from_rrs') and len(values) == 1:
                data['value'] = values[0]
            else:
                data['values'] = values
            record = Record.new(
                zone, wanted['name'], data, source=self, lenient=lenient
            )
            zone.add_record(record, lenient=lenient)


class Scope(BaseProcessor):
    """Hides what is not ours, and refuses what would be taken over."""

    def process_source_and_target_zones(
        self, desired, existing, target, lenient=False
    ):
        request = CURRENT
        records = sorted(existing.records, key=key)
        foreign = [r for r in records if key(r) not in request.owned]
        for wanted in sorted(desired.records, key=key):
            in_the_way = [
                (record, reason)
                for record in foreign
                if (reason := clash(wanted, record))
            ]
            for record, reason in in_the_way:
                request.conflicts.append(
                    {
                        'wanted': list(key(wanted)),
                        'reason': reason,
                        'existing': as_dict(record),
                        'identical': reason == 'exists'
                        and values_of(record) == values_of(wanted),
                    }
                )
            if in_the_way:
                desired.remove_record(wanted)
        if request.conflicts and request.applying:
            raise Refusal(
                'conflict',
                'a wanted record exists and is not owned',
                conflicts=request.conflicts,
            )
        blocked = {tuple(c['wanted']) for c in request.conflicts}
        for record in records:
            if key(record) not in request.owned or key(record) in blocked:
                existing.remove_record(record)
        return desired, existing

    def process_plan(self, plan, sources, target, lenient=False):
        if not plan:
            return plan
        request = CURRENT
        wanted = {(d['name'], d['type']) for d in request.desired}
        deletes = []
        for change in plan.changes:
            this = key(change.record)
            if isinstance(change, Delete):
                deletes.append(this)
                allowed = this in request.owned and this not in wanted
            else:
                allowed = this in wanted
            if not allowed:
                raise Refusal(
                    'too_much_change',
                    'the provider plans a change outside the records named',
                    records=[list(this)],
                    limit=0,
                )
        if len(deletes) > request.max_deletes:
            raise Refusal(
                'too_much_change',
                f'{len(deletes)} records would be deleted',
                records=[list(d) for d in deletes],
                limit=request.max_deletes,
            )
        return plan


class Capture:
    """A plan output that keeps the plans, as octoDNS will apply them."""

    def run(self, plans, *args, **kwargs):
        CURRENT.plans = [plan for _, plan in plans]


class ChecksumTap(logging.Handler):
    def emit(self, record):
        if CURRENT is not None and record.args:
            CURRENT.computed = str(record.args[0])


def _guarded_rfc2136():
    import dns.message
    import dns.query
    import dns.rcode
    from dns.update import Update
    from octodns_bind import Rfc2136Provider

    class GuardedRfc2136(Rfc2136Provider):
        """Sends the plan as one update that holds only if nothing moved.

        RFC 2136 section 2.4: what is created must be absent, what is changed
        or deleted must be as it was read. The server checks and applies in
        one step.
        """

        def _apply(self, plan):
            update = Update(plan.desired.name, **self._auth_params())
            for change in plan.changes:
                if isinstance(change, Create):
                    name, _, _type, _ = change.new.rrs
                    update.absent(name, _type)
                    continue
                name, _, _type, rdatas = change.existing.rrs
                if _type == 'TXT':
                    # how a long text was cut into strings is not kept
                    update.present(name, _type)
                else:
                    update.present(name, _type, *rdatas)
            for change in plan.changes:
                name, ttl, _type, rdatas = change.record.rrs
                if isinstance(change, Delete):
                    update.delete(name, _type)
                else:
                    update.replace(name, ttl, _type, *rdatas)
            CURRENT.writing = True
            answer = dns.query.tcp(
                update, self.host, port=self.port, timeout=self.timeout
            )
            rcode = answer.rcode()
            if rcode == dns.rcode.NOERROR:
                return True
            text = dns.rcode.to_text(rcode)
            kind = {
                'NXRRSET': 'drift',
                'YXRRSET': 'drift',
                'NXDOMAIN': 'drift',
                'YXDOMAIN': 'drift',
                'REFUSED': 'auth',
                'NOTAUTH': 'auth',
                'NOTZONE': 'validation',
                'FORMERR': 'validation',
                'SERVFAIL': 'unavailable',
            }.get(text, 'provider')
            raise Refusal(kind, f'the server answered the update with {text}')

    return GuardedRfc2136


def __getattr__(name):
    # built on demand: importing dnspython's query code costs start-up time
    if name == 'GuardedRfc2136':
        value = globals()[name] = _guarded_rfc2136()
        return value
    raise AttributeError(name)


# -- records ------------------------------------------------------------------


def key(record):
    return (record.name, record._type)


def values_of(record):
    values = getattr(record, 'values', None)
    if values is None:
        values = [record.value]
    return sorted(text_of(v) for v in values if v is not None)


def text_of(value):
    if hasattr(value, 'to_raw_text'):
        return value.to_raw_text()
    if hasattr(value, 'to_rdata_text'):
        return value_to_rdata_text(value)
    return str(getattr(value, 'data', value))


def as_dict(record):
    return {
        'name': record.name,
        'type': record._type,
        'ttl': int(record.ttl),
        'values': values_of(record),
    }


def change_dict(change):
    return {
        'before': as_dict(change.existing) if change.existing else None,
        'after': as_dict(change.new) if change.new else None,
    }


def clash(wanted, record):
    """Why `record`, which is not ours, stands in the way of `wanted`."""
    name, _type = key(wanted)
    other_name, other = key(record)
    if name == other_name:
        types = {_type, other}
        if _type == other:
            return 'exists'
        if 'CNAME' in types:
            return 'coexists'
        if len(types & ADDRESS_LIKE) == 2 and types != {'A', 'AAAA'}:
            return 'coexists'
        if name and 'NS' in types and 'DS' not in types:
            return 'delegated'
        return None
    below = not other_name or name.endswith(f'.{other_name}')
    if below and ((other == 'NS' and other_name) or other == 'DNAME'):
        return 'delegated'
    return None


# -- requests -----------------------------------------------------------------


def build_manager(request, path):
    config = {k: v for k, v in request.settings.items()}
    config.update({name: f'fedi/{name}' for name in request.secrets})
    config['class'] = (
        'fedi_octodns.GuardedRfc2136'
        if request.provider_class in GUARDED
        else request.provider_class
    )
    document = {
        'manager': {'enable_checksum': True},
        'secret_handlers': {'fedi': {'class': 'fedi_octodns.Secrets'}},
        'providers': {
            'desired': {'class': 'fedi_octodns.Desired'},
            TARGET: config,
        },
        'processors': {
            'root-ns': {
                'class': 'octodns.processor.filter.IgnoreRootNsFilter'
            },
            'scope': {'class': 'fedi_octodns.Scope'},
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
    # the failed attempt may have left a broken connection or cache behind
    global CURRENT
    wanted = [c for p in request.plans for c in p.changes]
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
    CURRENT = again
    try:
        records = {
            key(r): values_of(r)
            for r in current_records(build_manager(again, path), again)
        }
    except Exception:
        return None
    finally:
        CURRENT = request
    applied, pending = [], []
    for change in wanted:
        now = records.get(key(change.record))
        new = values_of(change.new) if change.new else None
        (applied if now == new else pending).append(list(key(change.record)))
    return {'applied': applied, 'pending': pending}


OPERATIONS = {'read': read, 'plan': plan, 'apply': apply}


def serve(request, path):
    global CURRENT
    CURRENT = request
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
        CURRENT = None


# -- errors -------------------------------------------------------------------


def chain(error):
    seen = []
    while error is not None and error not in seen:
        seen.append(error)
        error = error.__cause__ or error.__context__
    return seen


def classify(error):
    """(class, message, detail) of whatever octoDNS or a provider raised."""
    if isinstance(error, Refusal):
        return error.kind, str(error), dict(error.detail)
    msg = ' '.join(str(error).split()) or type(error).__name__
    for link in chain(error):
        kind = kind_of(link)
        if kind in ('unavailable', 'timeout') or isinstance(link, ssl.SSLError):
            return kind or 'config', network_text(error, msg), {}
        if kind:
            return kind, msg, {}
    return 'provider', msg, {}


def network_text(error, msg):
    """`host:port: reason` instead of requests' account of its own layers."""
    request = getattr(error, 'request', None)
    if request is None or getattr(error, 'response', None) is not None:
        return msg
    place = urlsplit(request.url).netloc.rpartition('@')[2]
    for link in reversed(chain(error)):
        if isinstance(link, OSError) and link.strerror:
            return f'{place}: {link.strerror}'
    return f'{place}: {type(error).__name__}'


def kind_of(error):
    names = [c.__name__ for c in type(error).__mro__]
    module = type(error).__module__ or ''
    text = str(error)
    if isinstance(error, Refusal):
        return error.kind
    if isinstance(
        error,
        (
            DuplicateRecordException,
            RdataParseError,
            RecordException,
            SupportsException,
            ValidationError,
            ZoneException,
        ),
    ):
        return 'validation'
    if isinstance(error, (ManagerException, binascii.Error)):
        return 'config'
    status = getattr(getattr(error, 'response', None), 'status_code', None)
    if isinstance(status, int):
        if status in (401, 403):
            return 'auth'
        if status == 404:
            return 'not_found'
        if status == 408:
            return 'timeout'
        if status == 429 or status >= 500:
            return 'unavailable'
        if status in (400, 409, 422):
            return 'validation'
    if module.startswith('dns.'):
        if 'Timeout' in names:
            return 'timeout'
        if 'PeerError' in names or 'BadSignature' in names:
            return 'auth'
        if 'TransferError' in names:
            return transfer_kind(error)
    if isinstance(error, (socket.timeout, TimeoutError)) or 'Timeout' in names:
        return 'timeout'
    if 'SSLError' in names:
        return 'config'
    if module.startswith('requests') and 'ConnectionError' in names:
        # requests calls an expired connect timeout a connection error too
        return 'unavailable'
    if isinstance(error, (ConnectionError, socket.gaierror)):
        return 'unavailable'
    if isinstance(error, EOFError) or type(error) is OSError:
        return 'unavailable'
    # providers name their own exceptions; these are the customs
    for name in names:
        if re.search(r'Unauthori[sz]ed|Authenticat|Forbidden', name):
            return 'auth'
        if re.search(r'RateLimit|Throttl|TooManyRequests', name):
            return 'unavailable'
        if name.endswith('NotFound'):
            return 'not_found'
    if re.search(r'\bunauthori[sz]ed\b', text, re.IGNORECASE):
        return 'auth'
    return None


def transfer_kind(error):
    import dns.rcode

    rcode = getattr(error, 'rcode', None)
    if rcode == dns.rcode.NOTAUTH or rcode == dns.rcode.NXDOMAIN:
        return 'not_found'
    if rcode == dns.rcode.REFUSED:
        return 'auth'
    return 'unavailable'


def redact(text, secrets):
    for secret in secrets.values():
        secret = str(secret)
        if len(secret) < 3:
            continue
        forms = {
            secret,
            quote(secret),
            quote_plus(secret),
            repr(secret)[1:-1],
            base64.b64encode(secret.encode()).decode(),
        }
        for form in sorted(forms, key=len, reverse=True):
            text = text.replace(form, '***')
    return text


class RedactingFormatter(logging.Formatter):
    def format(self, record):
        text = super().format(record)
        return redact(text, CURRENT.secrets) if CURRENT else text


# -- the loop -----------------------------------------------------------------


def answer(message):
    line = json.dumps(message).encode() + b'\n'
    while line:
        line = line[os.write(ANSWERS, line) :]


def lines(busy):
    """Request lines; ends the process when the parent is gone in mid-request."""
    received = queue.SimpleQueue()

    def pump():
        for line in sys.stdin.buffer:
            received.put(line)
        if busy.is_set():
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
    for line in lines(busy):
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


if __name__ == '__main__':
    main()
