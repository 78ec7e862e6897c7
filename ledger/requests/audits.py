"""What can be asked of the past: events, migrations as they ran, where objects come from, and what changed."""

from __future__ import annotations

from ledger.requests.base import Count, Request, Tenants, Word


class Show(Request, frozen=True):
    """An event by its seq, or a migration by VERSION or SET/VERSION, as the ledger keeps it.

    A number without a leading zero is a seq, unless the ledger ends before it. `tenant` limits a
    migration to one tenant.
    """

    method = "show"
    what: Count | Word
    tenant: Word | None = None


class Blame(Request, frozen=True):
    """Which migration brought a TABLE, or TABLE.COLUMN, of one tenant, and what changed it since."""

    method = "blame"
    name: Word
    tenant: Word


class Diff(Request, frozen=True, kw_only=True):
    """What changed over the tenants between two times; `until` is now where it is not given."""

    method = "diff"
    since: Word
    until: Word | None = None
    tenants: Tenants = "*"
