# SPDX-License-Identifier: AGPL-3.0-or-later
"""RFC 2136 updates that the server refuses when something moved meanwhile."""

import dns.message
import dns.query
import dns.rcode
from dns.update import Update
from fedi_request import Refusal
from octodns.record import Create, Delete
from octodns_bind import Rfc2136Provider

# what an answer other than NOERROR means
KINDS = {
    'NXRRSET': 'drift',
    'YXRRSET': 'drift',
    'NXDOMAIN': 'drift',
    'YXDOMAIN': 'drift',
    'REFUSED': 'auth',
    'NOTAUTH': 'auth',
    'NOTZONE': 'validation',
    'FORMERR': 'validation',
    'SERVFAIL': 'unavailable',
}


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
        answer = dns.query.tcp(
            update, self.host, port=self.port, timeout=self.timeout
        )
        rcode = answer.rcode()
        if rcode == dns.rcode.NOERROR:
            return True
        text = dns.rcode.to_text(rcode)
        kind = KINDS.get(text, 'provider')
        raise Refusal(kind, f'the server answered the update with {text}')
