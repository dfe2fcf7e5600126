"""The kinds of dongle that the bench can put on the line."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from devices.bench.toml_section import Section
from devices.ncp.ezsp.ash import StartHabit
from devices.ncp.ezsp.ash_frames import ResetCode
from devices.ncp.ezsp.configuration import APS_UNICAST_MESSAGE_COUNT, KEY_TABLE_SIZE
from devices.ncp.ezsp.coprocessor import EzspCoprocessor
from devices.ncp.ezsp.personality import Personality as EzspPersonality
from devices.ncp.sticks import EZSP_STICKS, ROOMY, ZNP_STICKS
from devices.ncp.znp.commands import commands as znp_commands
from devices.ncp.znp.coprocessor import ZnpCoprocessor
from devices.ncp.znp.personality import Personality as ZnpPersonality
from devices.ncp.znp.personality import TableSizes
from devices.stack.coordinator import ZigbeeCoordinator
from devices.stack.interface import CoordinatorListener, Eui64, LinkKeys
from devices.time import EventQueue

Dongle = EzspCoprocessor | ZnpCoprocessor

KINDS = ("ezsp", "znp")  # by the names of --ncp

ZNP_COMMANDS = tuple(command.name for command in znp_commands().values() if not command.is_callback)

DEFAULT_DONGLE = Eui64(0x00DB_1234_5678_0001)  # our choice

Cut = Callable[[bytes], tuple[list[bytes], bytes]]
"""The whole frames at the front of some octets, each with its delimiters, and the rest."""

_ASH_FLAG = b"\x7e"  # UG101 2.1
_MT_START = b"\xfe"  # TI's Monitor and Test API: start of frame
_MT_OVERHEAD_BYTES = 5  # the same: start, length, two of command, FCS

MakeStack = Callable[[CoordinatorListener, LinkKeys, Eui64, bool], ZigbeeCoordinator]
"""The fourth argument says whether the host puts fragments together."""


@dataclass(frozen=True, slots=True)
class NcpSettings:
    """The dongle, of either kind. None is what the file does not say: there the stick's own value holds."""

    eui64: Eui64 = DEFAULT_DONGLE
    stick: str = ROOMY
    endpoints_survive_reset: bool = True
    scan_takes_time: bool | None = None
    aps_unicast_message_count: int | None = None
    callback_buffers: int | None = None
    table_size: int | None = None
    command_s: float | None = None
    requires_key_exchange: bool | None = None
    lacks: frozenset[str] = frozenset()
    start: StartHabit = StartHabit.PLAIN


def read_ncp(section: Section) -> NcpSettings:
    settings = NcpSettings(
        eui64=section.eui64("eui64", DEFAULT_DONGLE),
        stick=section.choice("stick", tuple(dict.fromkeys((*EZSP_STICKS, *ZNP_STICKS))), ROOMY),
        endpoints_survive_reset=section.boolean("endpoints_survive_reset", default=True),
        scan_takes_time=section.boolean("scan_takes_time", default=False) if section.has("scan_takes_time") else None,
        aps_unicast_message_count=section.optional_integer("aps_unicast_message_count", minimum=1, maximum=255),
        callback_buffers=section.optional_integer("callback_buffers", minimum=1, maximum=65_535),
        table_size=section.optional_integer("table_size", minimum=1, maximum=1024),
        start=StartHabit(section.choice("start", tuple(habit.value for habit in StartHabit), StartHabit.PLAIN.value)),
        command_s=section.optional_number("command_s", maximum=10.0),
        lacks=frozenset(section.texts("lacks", ZNP_COMMANDS)),
        requires_key_exchange=(
            section.boolean("requires_key_exchange", default=True) if section.has("requires_key_exchange") else None
        ),
    )
    section.finish()
    return settings


def kind_of(settings: NcpSettings, asked: str | None) -> str:
    """What the stick speaks, of KINDS; a roomy one speaks what it is `asked` to, or EZSP.

    Raises ValueError where it is asked for what the stick does not speak.
    """
    spoken = ["ezsp"] * (settings.stick in EZSP_STICKS) + ["znp"] * (settings.stick in ZNP_STICKS)
    if asked is not None and asked not in spoken:
        raise ValueError(f"{settings.stick} is a stick that speaks {spoken[0]}, not {asked}: leave --ncp out")
    return asked or spoken[0]


def make_dongle(kind: str, settings: NcpSettings, make_stack: MakeStack, queue: EventQueue, random: Random) -> Dongle:
    """`kind` is one of KINDS."""
    if kind == "znp":
        return ZnpCoprocessor(
            lambda listener, keys, ieee: make_stack(listener, keys, ieee, False),
            settings.eui64,
            queue,
            random,
            _znp_personality(settings),
        )
    return EzspCoprocessor(
        lambda listener, keys: make_stack(listener, keys, settings.eui64, True),
        settings.eui64,
        queue,
        random,
        _ezsp_personality(settings),
    )


def _ezsp_personality(settings: NcpSettings) -> EzspPersonality:
    chosen = EZSP_STICKS[settings.stick]
    configured = {APS_UNICAST_MESSAGE_COUNT: settings.aps_unicast_message_count, KEY_TABLE_SIZE: settings.table_size}
    takes_time, buffers = settings.scan_takes_time, settings.callback_buffers
    return replace(
        chosen,
        key_table_limit=settings.table_size or chosen.key_table_limit,
        endpoints_survive_reset=settings.endpoints_survive_reset,
        scan_takes_time=chosen.scan_takes_time if takes_time is None else takes_time,
        callback_buffers=buffers or chosen.callback_buffers,
        command_s=chosen.command_s if settings.command_s is None else settings.command_s,
        start=settings.start,
        configuration=chosen.configuration | {key: value for key, value in configured.items() if value is not None},
    )


def _znp_personality(settings: NcpSettings) -> ZnpPersonality:
    chosen = ZNP_STICKS[settings.stick]
    requires = settings.requires_key_exchange
    return replace(
        chosen,
        tables=chosen.tables if settings.table_size is None else TableSizes.alike(settings.table_size),
        command_s=chosen.command_s if settings.command_s is None else settings.command_s,
        requires_key_exchange=chosen.requires_key_exchange if requires is None else requires,
        lacks=chosen.lacks | settings.lacks,
    )


def cut_ash(octets: bytes) -> tuple[list[bytes], bytes]:
    """EZSP: a flag ends a frame (UG101 2.1)."""
    *pieces, rest = octets.split(_ASH_FLAG)
    return [piece + _ASH_FLAG for piece in pieces], rest


def cut_mt(octets: bytes) -> tuple[list[bytes], bytes]:
    """Z-Stack: start, length, command, data, FCS. What stands between frames is a piece of its own."""
    frames = []
    while octets:
        start = octets.find(_MT_START)
        if start:
            end = len(octets) if start < 0 else start
        elif len(octets) < 2 or len(octets) < (end := _MT_OVERHEAD_BYTES + octets[1]):
            break
        frames.append(octets[:end])
        octets = octets[end:]
    return frames, octets


def cut_for(dongle: Dongle) -> Cut:
    """Where frames end on its line."""
    return cut_mt if isinstance(dongle, ZnpCoprocessor) else cut_ash


def power_on(dongle: Dongle) -> None:
    if isinstance(dongle, ZnpCoprocessor):
        dongle.reboot()  # a CC2652 does not say why
    else:
        dongle.reboot(ResetCode.POWER_ON)


def restart(dongle: Dongle) -> None:
    """As its watchdog does."""
    if isinstance(dongle, ZnpCoprocessor):
        dongle.reboot()
    else:
        dongle.reboot(ResetCode.WATCHDOG)
