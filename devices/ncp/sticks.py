"""The sticks that a dongle can play, as rows of data: `stick` in a scenario's `[ncp]` names one.

`devices/ncp/ezsp/personality.py` and `devices/ncp/znp/personality.py` say what a field means. A row says what its build
was given, each figure with where it was read; a further stick is a row here. The roomy ones are nobody's stick: they
have room for a fleet, take no time, and are what a scenario gets that names none.
"""

from devices.ncp.ezsp.configuration import (
    ADDRESS_TABLE_SIZE,
    APS_UNICAST_MESSAGE_COUNT,
    BINDING_TABLE_SIZE,
    KEY_TABLE_SIZE,
    MAX_END_DEVICE_CHILDREN,
    MULTICAST_TABLE_SIZE,
    PACKET_BUFFER_COUNT,
    SOURCE_ROUTE_TABLE_SIZE,
)
from devices.ncp.ezsp.personality import Personality as Ezsp
from devices.ncp.znp.personality import Personality as Znp
from devices.ncp.znp.personality import TableSizes

ROOMY = "roomy"
_NEIGHBOR_TABLE_SIZE = 0x02  # UG100 3.3, EzspConfigId

COMMAND_S = 0.012
"""Logs of hosts with their times: universal-silabs-flasher issue 3, bellows issue 468, Domoticz-Zigbee issue 1142."""
RESET_S = 1.1
"""1.0 to 1.3 s in logs: herdsman issue 1053, universal-silabs-flasher issue 99, bellows issue 735."""
_FREE_BUFFERS = 75  # the most that public logs of getValue show after the host's configuration, but for one of 127

V8 = Ezsp("v8", 8, 0x6A50)
"""EmberZNet 6.10, as old sticks have it: keys by EmberKeyStruct, no tokens."""

V13 = Ezsp("v13", 13, 0x7440)
"""EmberZNet 7.4, the last with one-octet statuses."""

V18 = Ezsp("v18", 18, 0x8200)
"""EmberZNet 8.x: sl_Status everywhere. Which minor release speaks version 18 is not published; 8.2 is our choice."""

_OTHERS = {9: 0x7020, 10: 0x7120, 11: 0x7220, 12: 0x7320, 14: 0x8000, 16: 0x8100, 17: 0x8100}
"""Further versions that hosts accept, with stack versions of about their time: which exactly is our choice."""

ROOMY_EZSP = {
    stick.name: stick
    for stick in sorted(
        (V8, V13, V18, *(Ezsp(f"v{version}", version, stack) for version, stack in _OTHERS.items())),
        key=lambda stick: stick.version,
    )
}
"""Every version that hosts accept, the oldest first."""

SKYCONNECT_7_1 = Ezsp(
    "skyconnect-7.1",
    9,  # log of an EmberZNet 7.1.3: universal-silabs-flasher issue 3
    0x7110,
    manufacturer="Nabu Casa",
    board="SkyConnect v1.0",
    configuration={  # dump of 7.1.1.0: silabs-firmware issue 12
        PACKET_BUFFER_COUNT: 255,
        _NEIGHBOR_TABLE_SIZE: 26,
        APS_UNICAST_MESSAGE_COUNT: 20,
        BINDING_TABLE_SIZE: 32,
        ADDRESS_TABLE_SIZE: 16,
        MULTICAST_TABLE_SIZE: 16,
        MAX_END_DEVICE_CHILDREN: 32,
        SOURCE_ROUTE_TABLE_SIZE: 200,
        KEY_TABLE_SIZE: 12,
    },
    sizes_are_fixed=True,
    free_buffers=_FREE_BUFFERS,
    callback_buffers=_FREE_BUFFERS,
    scan_takes_time=True,
    command_s=COMMAND_S,
    reset_s=RESET_S,
)

DONGLE_E_7_4 = Ezsp(
    "dongle-e-7.4",
    13,
    0x7430,  # its maker's newest build: silabs-firmware-builder issue 108 of darkxst
    manufacturer="Itead",
    board="Sonoff Zigbee 3.0 USB Dongle Plus V2",
    configuration={  # dump of its maker's build: Sonoff_Zigbee_Dongle_Firmware issue 10
        PACKET_BUFFER_COUNT: 250,
        _NEIGHBOR_TABLE_SIZE: 26,
        APS_UNICAST_MESSAGE_COUNT: 32,
        BINDING_TABLE_SIZE: 32,
        ADDRESS_TABLE_SIZE: 32,
        MULTICAST_TABLE_SIZE: 8,  # a host that asks for 16 is refused: apps-development issue 88
        MAX_END_DEVICE_CHILDREN: 32,  # the default; the dump is cut there
        KEY_TABLE_SIZE: 12,  # Silicon Labs' sample application; the dump is cut there
    },
    sizes_are_fixed=True,
    free_buffers=_FREE_BUFFERS,
    callback_buffers=_FREE_BUFFERS,
    scan_takes_time=True,
    command_s=COMMAND_S,
    reset_s=RESET_S,
)

ZBT_2 = Ezsp(
    "zbt-2",
    18,
    0x8220,  # EmberZNet 8.2.2 of another stick with this chip: silabs-firmware-builder issue 79 of Nerivec
    manufacturer="Nabu Casa",
    board="Home Assistant Connect ZBT-2",
    configuration={  # its build's manifest: silabs-firmware-builder, zbt2_zigbee_ncp.yaml
        PACKET_BUFFER_COUNT: 8192,  # octets since EmberZNet 8: the dump of issue 79
        _NEIGHBOR_TABLE_SIZE: 26,
        APS_UNICAST_MESSAGE_COUNT: 128,
        BINDING_TABLE_SIZE: 32,
        ADDRESS_TABLE_SIZE: 128,
        MULTICAST_TABLE_SIZE: 26,
        MAX_END_DEVICE_CHILDREN: 64,
        SOURCE_ROUTE_TABLE_SIZE: 254,
        KEY_TABLE_SIZE: 12,
    },
    sizes_are_fixed=True,
    free_buffers=_FREE_BUFFERS,
    callback_buffers=_FREE_BUFFERS,
    scan_takes_time=True,
    command_s=COMMAND_S,
    reset_s=RESET_S,
    baud=460_800,  # the manifest
)

ZSTACK_3_30 = Znp("zstack-3.30", 1, (2, 7, 1), 20221226)
"""Z-Stack 3.30 as built for CC2652 sticks, the newest that zigpy-znp and zigbee-herdsman know."""

CC2652R = Znp(
    "cc2652r",
    1,
    (2, 7, 1),
    20221226,
    # Public memory dumps of a CC2652R, new and with a network; but for the install codes, of which neither has any:
    # ZDSECMGR_TC_DEVICE_IC_MAX of TI's header
    tables=TableSizes(addresses=257, children=51, trust_center_keys=200, aps_keys=3, install_codes=40),
    command_s=COMMAND_S,
    state_s=0.3,  # our choice: herdsman waits for minutes, and a host that expects no time at all hangs
)

EZSP_STICKS: dict[str, Ezsp] = {
    ROOMY: V13,
    **ROOMY_EZSP,
    **{stick.name: stick for stick in (SKYCONNECT_7_1, DONGLE_E_7_4, ZBT_2)},
}
"""By the name that a scenario uses."""

ZNP_STICKS: dict[str, Znp] = {ROOMY: ZSTACK_3_30, **{stick.name: stick for stick in (ZSTACK_3_30, CC2652R)}}
"""By the name that a scenario uses."""
