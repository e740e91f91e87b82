# SPDX-License-Identifier: AGPL-3.0-or-later
"""The request being served, where the objects that octoDNS builds find it."""


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


class Now:
    """`Now.request` is the request being served; one at a time."""

    request = None
