"""What makes one EZSP stick different from another: version, names, what its build was given, how long it takes.

The sticks themselves are rows of `devices.ncp.sticks`. A version that changes a layout needs its rows in
`devices.ncp.ezsp.commands` besides.
"""

from dataclasses import dataclass, field

from devices.ncp.ezsp.ash import StartHabit

STACK_TYPE_MESH = 0x02  # UG100 4, version


@dataclass(frozen=True, slots=True)
class Personality:
    name: str
    version: int
    stack_version: int  # four nibbles: major, minor, patch, special
    manufacturer: str = "chf"
    board: str = "virtual dongle"
    endpoints_survive_reset: bool = False
    """UG100 4, addEndpoint: "does not remember these settings after a reset". True suits hosts that form a network,
    reset the chip in between and go on without adding their endpoints again (bellows with auto_form)."""
    configuration: dict[int, int] = field(default_factory=dict)
    """Configuration values of this build that are not UG100's defaults."""
    sizes_are_fixed: bool = False
    """The host may make tables smaller, not larger than the build has them: so EmberZNet since 7.0 (release notes)."""
    key_table_limit: int | None = None
    """The most entries that a host may ask for; None: as many as the octet of KEY_TABLE_SIZE can say."""
    free_buffers: int | None = None
    """What EZSP_VALUE_FREE_BUFFERS says; None: as many as are configured."""
    command_s: float = 0.0
    """How long a command takes before it is answered. The next one waits for it, acknowledgements do not."""
    reset_s: float = 0.0
    """From RST to RSTACK."""
    start: StartHabit = StartHabit.PLAIN
    """What it says to the first host."""
    baud: int = 115_200
    """Of its serial line."""
    callback_buffers: int = 4096
    """Callbacks that wait for the host; further ones are lost, and the loss is told. More than a chip has: where the
    air takes no time a whole fleet speaks in the same instant, which no chip ever meets."""
    scan_takes_time: bool = False
    """An energy scan lasts as long as on the air, or is there at once."""

    def version_info(self) -> bytes:
        """EZSP_VALUE_VERSION_INFO: build u16, major, minor, patch, special, type (0xAA is a general release)."""
        nibbles = (self.stack_version >> shift & 0xF for shift in (12, 8, 4, 0))
        return bytes((0, 0, *nibbles, 0xAA))
