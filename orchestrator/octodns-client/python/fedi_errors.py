# SPDX-License-Identifier: AGPL-3.0-or-later
"""What octoDNS and its providers raise, sorted by what a caller does about it."""

import base64
import binascii
import re
import socket
import ssl
from urllib.parse import quote, quote_plus, urlsplit

from fedi_request import Refusal
from octodns.manager import ManagerException
from octodns.provider import SupportsException
from octodns.record.exception import RecordException, ValidationError
from octodns.record.rr import RdataParseError
from octodns.zone import DuplicateRecordException
from octodns.zone.exception import ZoneException


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
