# SPDX-License-Identifier: AGPL-3.0-or-later
"""What octoDNS loads by name: source, processor, secrets, plan output."""

import logging

from fedi_records import as_dict, clash, key, values_of
from fedi_request import Now, Refusal
from octodns.processor.base import BaseProcessor
from octodns.record import Delete, Record
from octodns.record.base import value_from_rdata_text
from octodns.record.rr import RdataParseError
from octodns.secret.base import BaseSecrets
from octodns.source.base import BaseSource


class Secrets(BaseSecrets):
    """`fedi/<name>` in the configuration is the secret of that name."""

    def fetch(self, name, source):
        return Now.request.secrets[name]


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
        for wanted in Now.request.desired:
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
        request = Now.request
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
        request = Now.request
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
        Now.request.plans = [plan for _, plan in plans]


class ChecksumTap(logging.Handler):
    def emit(self, record):
        if Now.request is not None and record.args:
            Now.request.computed = str(record.args[0])
