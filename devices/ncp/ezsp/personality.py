"""What makes one dongle's firmware different from another: protocol version, names, and what its build was given.

A further one is an entry here and the rows of `devices.ncp.ezsp.commands` that its version changes.
"""

from dataclasses import dataclass, field

STACK_TYPE_MESH = 0x02  # UG100 4, version


@dataclass(frozen=True, slots=True)
class Personality:
    name: str
    version: int
    stack_version: int  # four nibbles: major, minor, patch, special
    manufacturer: str
    board: str
    endpoints_survive_reset: bool = False
    """UG100 4, addEndpoint: "does not remember these settings after a reset". True suits hosts that form a network,
    reset the chip in between and go on without adding their endpoints again (bellows with auto_form)."""
    configuration: dict[int, int] = field(default_factory=dict)
    """Configuration values of this build that are not UG100's defaults."""
    key_table_limit: int | None = None
    """The most entries that a host may ask for; None: as many as the octet of KEY_TABLE_SIZE can say."""
    callback_buffers: int = 4096
    """Callbacks that wait for the host; further ones are lost, and the loss is told. More than a chip has: where the
    air takes no time a whole fleet speaks in the same instant, which no chip ever meets."""
    scan_takes_time: bool = False
    """An energy scan lasts as long as on the air, or is there at once."""

    def version_info(self) -> bytes:
        """EZSP_VALUE_VERSION_INFO: build u16, major, minor, patch, special, type (0xAA is a general release)."""
        nibbles = (self.stack_version >> shift & 0xF for shift in (12, 8, 4, 0))
        return bytes((0, 0, *nibbles, 0xAA))


V8 = Personality("v8", 8, 0x6A50, "chf", "virtual dongle")
"""EmberZNet 6.10, as old sticks have it: keys by EmberKeyStruct, no tokens."""

V13 = Personality("v13", 13, 0x7440, "chf", "virtual dongle")
"""EmberZNet 7.4, the last with one-octet statuses."""

V18 = Personality("v18", 18, 0x8200, "chf", "virtual dongle")
"""EmberZNet 8.x: sl_Status everywhere. Which minor release speaks version 18 is not published; 8.2 is our choice."""

_OTHERS = {9: 0x7020, 10: 0x7120, 11: 0x7220, 12: 0x7320, 14: 0x8000, 16: 0x8100, 17: 0x8100}
"""Further versions that hosts accept, with stack versions of about their time: which exactly is our choice."""

_ALL = (
    *(V8, V13, V18),
    *(
        Personality(f"v{version}", version, stack_version, "chf", "virtual dongle")
        for version, stack_version in _OTHERS.items()
    ),
)

PERSONALITIES = {personality.name: personality for personality in sorted(_ALL, key=lambda one: one.version)}
"""By the name that a scenario file uses, the oldest first."""
