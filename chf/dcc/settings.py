"""The settings of the DCC side: users with their roles and addresses, policy, delivery.

    [[user]]
    eui64 = "90-B3-D5-1F-30-01-00-00"
    roles = ["IS"]
    receive_url = "http://127.0.0.1:8080/smartdcc/duis"

    [policy]              [delivery]
    gbcs_version = "4.3"  timeout_s = 10.0

Where the file names no user, every EUI-64 is a user and has every role.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from chf.clock import backoff_s
from chf.config import Table, read_toml
from chf.dcc.intake import IntakePolicy
from chf.errors import UsageError
from chf.eui64 import Eui64, format_eui64
from chf.image.image import DEFAULT_LIMIT_BYTES

USER_ROLES: Final = ("IS", "ES", "GS", "RSA", "ED", "GT", "OU")  # DUIS: suppliers, network operators, others
SUPPLIER_ROLES: Final = frozenset({"IS", "GS"})

SERVICE_ROLES: Final[Mapping[str, frozenset[str]]] = {
    "8.11": SUPPLIER_ROLES,  # our choice: no public table was found for it
    "11.1": SUPPLIER_ROLES,  # DUIS-T, and so the next three
    "11.2": frozenset(USER_ROLES),
    "11.3": SUPPLIER_ROLES,
    "11.4": SUPPLIER_ROLES,
}


@dataclass(frozen=True, slots=True)
class User:
    """`receive_url` is None where what is for the user stays queued."""

    eui64: Eui64
    roles: frozenset[str]
    receive_url: str | None = None


@dataclass(frozen=True, slots=True)
class DeskPolicy:
    """Figures of the intake that no public text gives: defaults of our own."""

    gbcs_version: str = "4.3"
    """As pre-commands name it."""
    minimum_gbcs_version: str = ""
    device_message_lifetime_s: float = 86_400.0
    """How long a command waits for its device."""
    device_response_s: float = 3600.0
    """How long a device that has a command may take to answer before the user is told that it does not."""
    furthest_execution_s: float = 0.0
    """How far ahead a command may be dated; 0 for any time."""
    image_limit_bytes: int = DEFAULT_LIMIT_BYTES

    def intake(self) -> IntakePolicy:
        """The same for the rules of update requests."""
        return IntakePolicy(image_limit_bytes=self.image_limit_bytes, minimum_gbcs_version=self.minimum_gbcs_version)


@dataclass(frozen=True, slots=True)
class DeliveryPolicy:
    """How documents are sent to users."""

    timeout_s: float = 10.0
    first_pause_s: float = 1.0
    longest_pause_s: float = 300.0
    refusals_until_parked: int = 5
    """How often a recipient may answer 400 to one document before it is put aside."""
    at_once: int = 8
    """How many are on their way to one address at the same time."""

    def pause_s(self, attempts: int) -> float:
        """How long to wait after this many failed attempts: twice as long each time."""
        return backoff_s(attempts, self.first_pause_s, self.longest_pause_s)


@dataclass(frozen=True, slots=True)
class DccSettings:
    users: Mapping[Eui64, User] = field(default_factory=dict)
    policy: DeskPolicy = field(default_factory=DeskPolicy)
    delivery: DeliveryPolicy = field(default_factory=DeliveryPolicy)
    default_receive_url: str | None = None
    """For users who have none of their own, and for everybody where no users are named."""

    def receive_url(self, recipient: Eui64) -> str | None:
        user = self.users.get(recipient)
        return (user.receive_url if user is not None else None) or self.default_receive_url

    def with_receive_url(self, url: str | None) -> "DccSettings":
        return replace(self, default_receive_url=None if url is None else check_url(url))

    @classmethod
    def load(cls, path: Path) -> "DccSettings":
        """Raises UsageError that names the file, the key and what would do."""
        table = read_toml(path)
        users: dict[Eui64, User] = {}
        for record in table.tables("user"):
            user = _user(record)
            if user.eui64 in users:
                raise record.error(f"{format_eui64(user.eui64)} is in it twice")
            users[user.eui64] = user
        settings = cls(users, table.settings("policy", DeskPolicy), table.settings("delivery", DeliveryPolicy))
        table.finish()
        return settings


def check_url(url: str) -> str:
    """Raises UsageError for what is no plain http or https address."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.port != 0
        # Labels of 1 to 63 characters (RFC 1035 2.3.4); twice, because the first time brings other dots to light.
        usable = usable and bool((parts.hostname or "").encode("idna").decode().encode("idna"))
    except ValueError:
        usable = False
    if not usable or not url.isprintable() or " " in url:
        raise UsageError(f"{url[:80]!r} is not an http or https address")
    if parts.username is not None:
        raise UsageError("a receive address carries no user name or password: addresses are logged")
    return url


def _user(table: Table) -> User:
    roles, url = frozenset(table.words("roles")), table.word("receive_url", "", longest=2000)
    if not roles or not roles <= set(USER_ROLES):
        raise table.error(f"is some of {', '.join(USER_ROLES)}", "roles")
    with table.located("receive_url"):
        user = User(table.eui64("eui64"), roles, check_url(url) if url else None)
    table.finish()
    return user
