"""The tables, as numbered migrations: number n takes a store of version n-1 to version n (`PRAGMA user_version`).

A migration that has been released is never edited; what changes is added below it. EUI-64s and u64 counters are text,
because an SQLite integer is signed.
"""

import sqlite3
from collections.abc import Sequence
from typing import Final

from chf.errors import StoreError

APPLICATION_ID: Final = 0x43484653
"""CHFS in ASCII, in the SQLite header: what is not marked so was not made by this program."""

_DEVICES = """
create table devices (
    eui64 text primary key,
    device_type text not null,
    install_code_link_key blob check (length(install_code_link_key) = 16),
    status text not null,
    network_address integer,
    endpoint integer,
    last_seen_utc real,
    manufacturer integer,
    image_type integer,
    hardware_version integer,
    file_version integer,
    refused_frames integer not null,
    added_utc real not null
)
"""

_DEVICE_IMAGES = """
create table device_images (
    device text not null,
    manufacturer integer not null,
    image_type integer not null,
    since_utc real not null,
    file_version integer,
    hardware_version integer,
    primary key (device, manufacturer, image_type)
)
"""

_IMAGES = """
create table images (
    sha256 text primary key,
    name text not null,
    kind text not null,
    manufacturer integer not null,
    image_type integer not null,
    file_version integer not null,
    hardware_min integer,
    hardware_max integer,
    size_bytes integer not null,
    added_utc real not null,
    content blob not null
)
"""

_UPDATES = """
create table jobs (
    id integer primary key,
    device text not null,
    image text not null,
    file_version integer not null,
    activation text not null,
    origin text not null,
    created_utc real not null,
    deadline_utc real not null,
    changed_utc real not null,
    allow_downgrade integer not null,
    state text not null check (state in ('accepted', 'stored', 'announced', 'downloading', 'downloaded', 'waiting',
        'activating', 'activated', 'reverted', 'failed', 'cancelled', 'expired')),
    reason text not null,
    version_before integer,
    version_seen integer,
    transfer text,
    report_success integer,
    report_version integer,
    waiting_for text,
    waiting_until_utc real,
    activation_at_utc real,
    download_started_utc real,
    download_ended_utc real,
    ended_utc real,
    ota_session text
)
"""

ACTIVE_UPDATE: Final = "state not in ('activated', 'reverted', 'failed', 'cancelled', 'expired')"
"""Of a row of `updates`: it has not ended. The same as the complement of chf.update.model.ENDS."""

_AUDIT = """
create table audit (
    seq integer primary key autoincrement,
    event text not null,
    hash blob not null
)
"""

_REFUSE = "begin select raise(abort, 'the audit is append-only'); end"

_NOT_PRUNED = "old.seq > coalesce((select max(through) from audit_checkpoint), 0)"

_INBOX = """
create table inbox (
    id integer primary key autoincrement,
    verb text not null,
    body text not null,
    state text not null check (state in ('pending', 'done', 'refused')),
    result text,
    submitted_utc real not null,
    finished_utc real
)
"""

_ALERTS = """
create table alerts (
    seq integer primary key autoincrement,
    msg_id text not null unique,
    device text not null,
    use_case text not null,
    alert_code integer not null,
    outcome text not null,
    message blob not null,
    verified integer not null,
    job integer,
    created_utc real not null,
    attempts integer not null default 0,
    delivered_utc real
)
"""

_REQUESTS = """
create table requests (
    originator text not null,
    counter text not null,
    seen_utc real not null,
    primary key (originator, counter)
) without rowid
"""

_UPLINK = """
create table uplink (
    seq integer primary key autoincrement,
    msg_id text not null unique,
    recipient text not null,
    device text not null,
    kind text not null,
    document blob not null,
    alert integer,
    created_utc real not null,
    attempts integer not null default 0,
    next_utc real not null default 0,
    last_error text not null default '',
    parked integer not null default 0,
    delivered_utc real
)
"""
"""Documents of the DCC side for its users; `alert` is the row of `alerts` that a document was made of."""

FOLLOWED = """
create table followed (
    command integer primary key,
    request text not null,
    service text not null,
    file_version integer not null
)
"""
"""Commands to the hub whose outcome a user is told: `request` is the service request that caused the command."""

_DEVICE_MESSAGES = """
create table device_messages (
    id integer primary key autoincrement,
    device text not null,
    request text not null,
    message_code integer not null,
    counter text not null,
    message blob not null,
    state text not null check (state in ('waiting', 'delivered', 'answered', 'failed', 'expired')),
    reason text not null default '',
    created_utc real not null,
    expires_utc real not null,
    changed_utc real not null
)
"""
"""GBCS messages of the DCC side for devices, until the hub has handed them over and the answer has come."""

_SCHEDULED_READS = """
create table scheduled_reads (
    id integer primary key autoincrement,
    request text not null unique,
    device text not null,
    due_utc real not null,
    done_utc real
)
"""
"""Version reads that users dated, until the DCC side makes the command."""

_AUDIT_CHECKPOINT: Final = """
create table audit_checkpoint (
    through integer primary key,
    hash blob not null,
    pruned_utc real not null
)
"""
"""One row once retention has taken records of the audit: up to which, the hash of that one, and when it last did."""


_FILLED = ", ".join(f"{name} = json_extract(event, '$.{name}')" for name in ("job", "device", "kind", "utc"))
"""Of each record what it is looked for by, beside the chain; null where the event cannot be read."""

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        _DEVICES,
        _IMAGES,
        _UPDATES,
        f"create unique index jobs_one_active_per_device on jobs (device) where {ACTIVE_UPDATE}",
        f"create index jobs_active_image on jobs (image) where {ACTIVE_UPDATE}",
        _AUDIT,
        f"create trigger audit_is_never_edited before update on audit {_REFUSE}",
        f"create trigger audit_is_never_cut before delete on audit {_REFUSE}",
        _INBOX,
        "create index inbox_pending on inbox (id) where state = 'pending'",
        _ALERTS,
        "create index alerts_open on alerts (seq) where delivered_utc is null",
        _REQUESTS,
        "create table counters (name text primary key, next integer not null) without rowid",
        "create table meta (key text primary key, value text not null) without rowid",
    ),
    (
        _UPLINK,
        "create index uplink_open on uplink (recipient, device, seq) where delivered_utc is null and parked = 0",
        "create index uplink_alert on uplink (alert)",
        FOLLOWED,
        _DEVICE_MESSAGES,
        "create index device_messages_waiting on device_messages (device, id) where state = 'waiting'",
        "create index device_messages_answered_by on device_messages (device, counter, message_code)",
    ),
    (
        # The link key of certificate-based key establishment: it takes the place of the install code's.
        "alter table devices add column link_key blob check (length(link_key) = 16)",
        "alter table devices add column key_suite integer",
        "alter table devices add column key_utc real",
    ),
    (
        # When the sender of a message that came to nothing was told so.
        "alter table device_messages add column told_utc real",
        # Until when the outcome of a message that was accepted for later is waited for.
        "alter table device_messages add column outcome_due_utc real",
        "create index device_messages_untold on device_messages (id) where told_utc is null and state <> 'answered'",
        "create index device_messages_appointed on device_messages (outcome_due_utc) where outcome_due_utc is not null",
        _SCHEDULED_READS,
        "create index scheduled_reads_open on scheduled_reads (due_utc) where done_utc is null",
    ),
    (
        # The transfer's record is part of the update's row, and says nothing twice that the row says.
        """
        update jobs set ota_session = json_insert(
            json_remove(ota_session, '$.version', '$.job', '$.peer', '$.image_sha256', '$.allow_downgrade'),
            '$.blocks', 0
        ) where json_valid(ota_session)
        """,
    ),
    (
        # A store of years: what lists, reports and retention look for is found by an index.
        "alter table audit add column job integer",
        "alter table audit add column device text",
        "alter table audit add column kind text",
        "alter table audit add column utc text",
        "drop trigger audit_is_never_edited",
        f"update audit set {_FILLED} where typeof(event) = 'text' and json_valid(event)",
        f"create trigger audit_is_never_edited before update on audit {_REFUSE}",
        "create index audit_of_update on audit (job) where job is not null",
        "create index audit_of_device on audit (device, utc) where device is not null",
        "create index audit_refused_requests on audit (seq) where kind = 'request.refused'",
        _AUDIT_CHECKPOINT,
        "drop trigger audit_is_never_cut",
        f"create trigger audit_is_never_cut before delete on audit when {_NOT_PRUNED} {_REFUSE}",
        "create index alerts_of_update on alerts (job) where job is not null",
        "create index alerts_of_device on alerts (device, seq)",
        "create index alerts_of_use_case on alerts (use_case, seq)",
        "create index alerts_by_time on alerts (created_utc)",
        "create index alerts_delivered on alerts (delivered_utc) where delivered_utc is not null",
        "create index uplink_by_time on uplink (created_utc)",
        "create index uplink_delivered on uplink (delivered_utc) where delivered_utc is not null",
        "create index uplink_undelivered on uplink (seq) where delivered_utc is null",
        "create index inbox_finished on inbox (finished_utc) where finished_utc is not null",
        "create index jobs_of_device on jobs (device, id)",
        f"create index jobs_active on jobs (id) where {ACTIVE_UPDATE}",
        "create index device_messages_open on device_messages (id) where state = 'waiting'",
        "create index jobs_by_time on jobs (created_utc)",
        "create index jobs_ended on jobs (ended_utc) where ended_utc is not null",
        "create index requests_by_time on requests (seen_utc)",
        "create index device_messages_by_time on device_messages (created_utc)",
        "create index device_messages_ended on device_messages (changed_utc)",
    ),
    (
        # The class of a device's OTA client: what somebody set, and what the device has shown (JSON).
        "alter table devices add column client_class text",
        "alter table devices add column client_traits text",
    ),
    (
        # Whether a device has every byte no longer hangs on the state of its transfer.
        """
        update jobs set ota_session = json_insert(
            ota_session,
            '$.end_served', json(case
                when json_extract(ota_session, '$.state') = 'served' or json_extract(ota_session, '$.downloaded')
                then 'true' else 'false' end),
            '$.claims_image', json('false'), '$.ignores_wait', json('false'), '$.download_s', null, '$.offers_again', 0
        ) where json_valid(ota_session)
        """,
    ),
    (
        # What a device runs is told by image type. A type that is null was never told, and 0xFFFFFFFF is no version.
        _DEVICE_IMAGES,
        """
        insert into device_images
            select eui64, manufacturer, image_type, coalesce(last_seen_utc, added_utc),
                nullif(file_version, 4294967295), hardware_version
            from devices where manufacturer is not null and image_type is not null
        """,
        *(
            f"alter table devices drop column {column}"
            for column in ("manufacturer", "image_type", "hardware_version", "file_version")
        ),
        "alter table jobs add column manufacturer integer",
        "alter table jobs add column image_type integer",
        "alter table jobs add column doubt text not null default ''",
        "alter table jobs add column successor_manufacturer integer",
        "alter table jobs add column successor_image_type integer",
        """
        update jobs set (manufacturer, image_type) =
            (select manufacturer, image_type from images where sha256 = jobs.image)
        """,
        "update jobs set version_seen = null where version_seen = 4294967295",
        "update jobs set version_before = null where version_before = 4294967295",
    ),
    (
        "alter table jobs rename to updates",
        "alter table alerts rename column job to update_id",
        "alter table audit rename column job to update_id",
    ),
)


def migrate(connection: sqlite3.Connection, migrations: Sequence[Sequence[str]] = MIGRATIONS) -> None:
    """Bring the store up to the newest version, one transaction a step: cut off, it goes on from the last whole step.

    Raises StoreError for a store of a newer version than this program knows.
    """
    while True:
        if _version(connection, migrations) == len(migrations):
            return
        connection.execute("begin immediate")
        try:
            version = _version(connection, migrations)  # another process may have been faster
            if version < len(migrations):
                for statement in migrations[version]:
                    connection.execute(statement)
                connection.execute(f"pragma user_version = {version + 1}")
            connection.execute("commit")
        except BaseException:
            if connection.in_transaction:
                connection.execute("rollback")
            raise


def _version(connection: sqlite3.Connection, migrations: Sequence[Sequence[str]]) -> int:
    version = int(connection.execute("pragma user_version").fetchone()[0])
    if not 0 <= version <= len(migrations):
        raise StoreError(
            f"the store was written by a newer chf: its schema is version {version}, this program knows up to "
            f"{len(migrations)}; use that chf, or another home directory"
        )
    return version
