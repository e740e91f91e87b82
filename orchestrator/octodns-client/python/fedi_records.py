# SPDX-License-Identifier: AGPL-3.0-or-later
"""Records of octoDNS as plain data, and which of them cannot stand together."""

from octodns.record.base import value_to_rdata_text

ADDRESS_LIKE = {'A', 'AAAA', 'ALIAS', 'PowerDnsProvider/LUA'}


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
