"""Retention: what is over and done with goes after a time. What is not delivered, decided or answered never goes.

It goes in portions, so that neither the hub nor its devices wait. Alerts and documents are forgotten with their ids: a
device that repeats an alert of so long ago is believed again. The last update of a device stays, because that is what
is known of the device, and so that no number is given out twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from chf.clock import UtcSeconds
from chf.errors import UsageError
from chf.store.audit import AuditWriter
from chf.store.database import Database
from chf.store.progress import KEY
from chf.trace import utc_text

DAY_S: Final = 86_400.0
PORTION: Final = 50
"""Rows of each table in one transaction, which takes about 3 ms (our choice)."""


@dataclass(frozen=True, slots=True)
class Retention:
    """`days` counts from when a thing was over; 0 keeps everything. Over a year, so that a year can be looked back."""

    days: float = 400.0

    def __post_init__(self) -> None:
        if self.days < 0:
            raise UsageError("days is 0 or more")

    def older_than(self, now: UtcSeconds) -> UtcSeconds | None:
        return UtcSeconds(max(now - self.days * DAY_S, 0.0)) if self.days else None


@dataclass(frozen=True, slots=True)
class _Rule:
    """Of `table`: `ended` is when a row was over, `done` what else must hold; `also` goes with it."""

    key: str
    ended: str
    done: str = "true"
    also: str = ""


_RULES: Final[Mapping[str, _Rule]] = MappingProxyType(
    {
        "alerts": _Rule("seq", "delivered_utc"),
        "uplink": _Rule("seq", "delivered_utc"),
        "inbox": _Rule(
            "id", "finished_utc", "state <> 'pending' and not exists (select 1 from followed where command = inbox.id)"
        ),
        "updates": _Rule(
            "id",
            "ended_utc",
            "exists (select 1 from updates later where later.device = updates.device and later.id > updates.id)",
            also=f"delete from meta where key in (select '{KEY}' || id from updates where id in ({{keys}}))",
        ),
        "device_messages": _Rule(
            "id",
            "changed_utc",
            "(told_utc is not null or (state = 'answered' and outcome_due_utc is null)) and state <> 'waiting'",
        ),
        "scheduled_reads": _Rule("id", "done_utc"),
    }
)
TABLES: Final = (*_RULES, "requests", "audit")


class Pruning:
    """What would go."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def count(self, table: str, older_than: UtcSeconds) -> int:
        match table:
            case "audit":
                sql = (
                    "select count(*) from audit where seq < coalesce((select min(seq) from audit where utc >= ?),"
                    " (select max(seq) from audit))"
                )
                return int(self._database.read(sql, (utc_text(older_than),))[0][0])
            case "requests":
                return int(self._database.read(f"select count(*) from ({_requests(-1)})", (older_than,))[0][0])
            case _:
                rows = self._database.read(f"select count(*) from ({_keys(table, -1)})", (older_than,))
                return int(rows[0][0])


class Pruner(Pruning):
    """Lets it go, within a transaction."""

    def __init__(self, database: Database, audit: AuditWriter) -> None:
        super().__init__(database)
        self._audit = audit

    def prune(self, table: str, older_than: UtcSeconds, now: UtcSeconds, most: int = PORTION) -> int:
        """Take away at most so many rows; returns how many.

        Of the audit nothing goes while its chain is broken (`chf doctor` says where).
        """
        match table:
            case "audit":
                return self._audit.prune(older_than, now, most)
            case "requests":
                sql = f"delete from requests where (originator, counter) in ({_requests(most)})"
                return self._database.write(sql, (older_than,)).rowcount
            case _:
                rule, keys = _RULES[table], _keys(table, most)
                if rule.also:
                    self._database.write(rule.also.format(keys=keys), (older_than,))
                return self._database.write(f"delete from {table} where {rule.key} in ({keys})", (older_than,)).rowcount


def _keys(table: str, most: int) -> str:
    """A time that is no number is never before another; one that is below 0 is damage."""
    rule = _RULES[table]
    return (
        f"select {rule.key} from {table} where {rule.ended} >= 0 and {rule.ended} < ? and {rule.done}"
        f" order by {rule.ended} limit {most}"
    )


def _requests(most: int) -> str:
    """All but the highest of each originator, which is what the next one is held against."""
    return (
        "select originator, counter from requests where seen_utc >= 0 and seen_utc < ? and counter <"
        f" (select max(counter) from requests as every where every.originator = requests.originator) limit {most}"
    )
