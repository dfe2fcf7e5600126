"""Configuration values, policies, values and endpoints: what the host sets before the network comes up (UG100 4).

All of it lives in RAM and is gone after a reset, as UG100 says of each ("does not remember these settings after a
reset"); endpoints may be kept, see `Personality.endpoints_survive_reset`. Sizes only bound the tables elsewhere.
"""

import struct
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

from devices.ncp.coprocessor import Coprocessor
from devices.ncp.ezsp.keys import SEND_CURRENT_KEY, JoinPolicy, KeyTables
from devices.ncp.ezsp.status import EzspStatus
from devices.ncp.layout import Handler
from devices.stack.interface import Endpoint

if TYPE_CHECKING:
    from devices.ncp.ezsp.personality import Personality

PACKET_BUFFER_COUNT = 0x01  # UG100 3.3, EzspConfigId
APS_UNICAST_MESSAGE_COUNT = 0x03  # UG100 3.3, EzspConfigId
BINDING_TABLE_SIZE = 0x04  # UG100 3.3, EzspConfigId
ADDRESS_TABLE_SIZE = 0x05  # UG100 3.3, EzspConfigId
MULTICAST_TABLE_SIZE = 0x06  # UG100 3.3, EzspConfigId
SECURITY_LEVEL = 0x0D  # UG100 3.3, EzspConfigId
MAX_END_DEVICE_CHILDREN = 0x11  # UG100 3.3, EzspConfigId
INDIRECT_TRANSMISSION_TIMEOUT = 0x12  # UG100 3.3, EzspConfigId
SOURCE_ROUTE_TABLE_SIZE = 0x1A  # UG100 3.3, EzspConfigId
KEY_TABLE_SIZE = 0x1E  # UG100 3.3, EzspConfigId
APPLICATION_ZDO_FLAGS = 0x2A  # UG100 3.3, EzspConfigId
TRANSIENT_KEY_TIMEOUT_S = 0x36  # UG100 3.3, EzspConfigId

DEFAULTS = {
    PACKET_BUFFER_COUNT: 75,
    0x02: 16,  # NEIGHBOR_TABLE_SIZE
    APS_UNICAST_MESSAGE_COUNT: 10,
    BINDING_TABLE_SIZE: 0,
    ADDRESS_TABLE_SIZE: 8,
    MULTICAST_TABLE_SIZE: 8,
    0x07: 16,  # ROUTE_TABLE_SIZE
    0x08: 8,  # DISCOVERY_TABLE_SIZE
    0x0C: 0,  # STACK_PROFILE
    SECURITY_LEVEL: 5,
    0x10: 30,  # MAX_HOPS
    MAX_END_DEVICE_CHILDREN: 32,
    INDIRECT_TRANSMISSION_TIMEOUT: 3000,  # ms
    0x13: 8,  # END_DEVICE_POLL_TIMEOUT
    0x17: 0,  # TX_POWER_MODE
    0x18: 0,  # DISABLE_RELAY
    0x19: 0,  # TRUST_CENTER_ADDRESS_CACHE_SIZE
    SOURCE_ROUTE_TABLE_SIZE: 0,
    0x1C: 1,  # FRAGMENT_WINDOW_SIZE
    0x1D: 0,  # FRAGMENT_DELAY_MS
    KEY_TABLE_SIZE: 4,
    0x1F: 1600,  # APS_ACK_TIMEOUT, ms
    0x20: 3,  # ACTIVE_SCAN_DURATION
    0x21: 60,  # END_DEVICE_BIND_TIMEOUT
    0x22: 1,  # PAN_ID_CONFLICT_REPORT_THRESHOLD
    0x24: 0,  # REQUEST_KEY_TIMEOUT
    0x29: 0,  # CERTIFICATE_TABLE_SIZE
    APPLICATION_ZDO_FLAGS: 0,
    0x2B: 15,  # BROADCAST_TABLE_SIZE
    0x2C: 0,  # MAC_FILTER_TABLE_SIZE
    0x2D: 1,  # SUPPORTED_NETWORKS
    0x2E: 0,  # SEND_MULTICASTS_TO_SLEEPY_ADDRESS
    0x33: 0,  # MTORR_FLOW_CONTROL
    0x34: 16,  # RETRY_QUEUE_SIZE
    0x35: 3,  # NEW_BROADCAST_ENTRY_THRESHOLD
    TRANSIENT_KEY_TIMEOUT_S: 300,
    0x37: 1,  # BROADCAST_MIN_ACKS_NEEDED
    0x38: 300,  # TC_REJOINS_USING_WELL_KNOWN_KEY_TIMEOUT_S
}
"""UG100's defaults, in the units it gives; where a build chooses, our choice."""

_READ_ONLY = frozenset({0x29})
_OF_THE_BUILD = frozenset(
    {
        *(
            PACKET_BUFFER_COUNT,
            0x02,
            APS_UNICAST_MESSAGE_COUNT,
            BINDING_TABLE_SIZE,
            ADDRESS_TABLE_SIZE,
            MULTICAST_TABLE_SIZE,
            0x07,
        ),
        *(0x08, MAX_END_DEVICE_CHILDREN, SOURCE_ROUTE_TABLE_SIZE, KEY_TABLE_SIZE, 0x2B),
    }
)
"""What the host cannot make larger where the build's sizes are fixed."""
_ONE_OCTET = frozenset({ADDRESS_TABLE_SIZE, MULTICAST_TABLE_SIZE, KEY_TABLE_SIZE, PACKET_BUFFER_COUNT, 0x02, 0x03})

TRUST_CENTER_POLICY = 0x00  # UG100 3.3, EzspPolicyId
MESSAGE_CONTENTS_IN_CALLBACK_POLICY = 0x04  # UG100 3.3, EzspPolicyId
TC_KEY_REQUEST_POLICY = 0x05  # UG100 3.3, EzspPolicyId
MESSAGE_TAG_AND_CONTENTS = 0x21  # UG100 3.3, EzspDecisionId

_DEFAULT_POLICIES = {
    TRUST_CENTER_POLICY: 0x00,  # no bit set: nobody joins until the host says so
    0x01: 0x11,  # BINDING_MODIFICATION: check bindings
    0x02: 0x20,  # UNICAST_REPLIES: the host does not supply one
    0x03: 0x30,  # POLL_HANDLER: ignore
    MESSAGE_CONTENTS_IN_CALLBACK_POLICY: 0x20,  # tag only
    TC_KEY_REQUEST_POLICY: SEND_CURRENT_KEY,
    0x06: 0x60,  # APP_KEY_REQUEST: deny
    0x07: 0x62,  # PACKET_VALIDATE_LIBRARY
    0x08: 0x70,  # ZLL
    0x09: 0x80,  # TC_REJOINS_USING_WELL_KNOWN_KEY
}


RECEIVES_SUPPORTED_REQUESTS = 0x01  # UG100 3.3, EmberZdoConfigurationFlags
_ENDPOINT_FLAGS = 0x00  # EzspExtendedValueId
_ENDPOINT_ENABLED = 0x0001  # EzspEndpointFlags


class ValueId(IntEnum):
    """The EzspValueIds that mean something here (UG100 3.3)."""

    FREE_BUFFERS = 0x03
    MAXIMUM_INCOMING_TRANSFER_SIZE = 0x05
    MAXIMUM_OUTGOING_TRANSFER_SIZE = 0x06
    VERSION_INFO = 0x11
    NWK_FRAME_COUNTER = 0x23
    APS_FRAME_COUNTER = 0x24
    TRANSIENT_KEY_TIMEOUT_S = 0x3B


_PLAIN_VALUES = {
    0x07: b"\x01",  # STACK_TOKEN_WRITING
    0x0A: bytes(2),  # EXTENDED_SECURITY_BITMASK
    0x0C: bytes(1),  # DESCRIPTOR_CAPABILITY
    0x15: b"\xb5",  # CCA_THRESHOLD
    0x34: bytes(1),  # USE_NEGOTIATED_POWER_BY_LPD
    0x3A: bytes(1),  # FORCE_TX_AFTER_FAILED_CCA_ATTEMPTS
    0x3E: b"\x01",  # END_DEVICE_TIMEOUT_OPTIONS_MASK
    0x3F: b"\x03",  # END_DEVICE_KEEP_ALIVE_SUPPORT_MODE
    0x43: (10_000).to_bytes(2, "little"),  # TRANSIENT_DEVICE_TIMEOUT, ms
    0x44: b"\x01",  # KEY_STORAGE_VERSION
    0x46: b"\x03",  # MAX_NWK_RETRIES
    0x48: bytes(1),  # JOIN_USE_INSTALL_CODE_ENABLE
}
"""Values that the virtual radio stores and gives back, and that change nothing in it."""


@dataclass(slots=True)
class FrameCounters:
    """Counters that a host writes before it forms a network, to go on where another dongle stopped."""

    network: int = 0
    aps: int = 0


@dataclass(slots=True)
class Settings:
    """The RAM that the host fills."""

    configuration: dict[int, int]
    policies: dict[int, int] = field(default_factory=_DEFAULT_POLICIES.copy)
    values: dict[int, bytes] = field(default_factory=_PLAIN_VALUES.copy)

    def __getitem__(self, configuration_id: int) -> int:
        return self.configuration[configuration_id]


class Configuration:
    """Handlers of UG100 4. While the network runs most of this is refused."""

    def __init__(self, chip: Coprocessor, personality: "Personality", keys: KeyTables, counters: FrameCounters) -> None:
        self.settings = Settings(DEFAULTS | personality.configuration)
        self._chip, self._stack = chip, chip.stack
        self._personality, self._keys, self._counters = personality, keys, counters
        self._apply()

    def handlers(self) -> dict[str, Handler]:
        return {
            "getConfigurationValue": self.get_configuration_value,
            "setConfigurationValue": self.set_configuration_value,
            "addEndpoint": self.add_endpoint,
            "setPolicy": self.set_policy,
            "getPolicy": self.get_policy,
            "getValue": self.get_value,
            "setManufacturerCode": self.set_manufacturer_code,
            "getExtendedValue": self.get_extended_value,
            "setValue": self.set_value,
        }

    def _apply(self) -> None:
        """The key tables and the stack follow the settings."""
        self._stack.parent.indirect.persistence_s = self.settings[INDIRECT_TRANSMISSION_TIMEOUT] / 1000
        if self._personality.sizes_are_fixed:  # a roomy stick has room for every child
            self._stack.parent.maximum_children = self.settings[MAX_END_DEVICE_CHILDREN]
        self._keys.size = self.settings[KEY_TABLE_SIZE]
        self._keys.transient_timeout_s = self.settings[TRANSIENT_KEY_TIMEOUT_S]
        self._stack.tells_zdp_requests = bool(self.settings[APPLICATION_ZDO_FLAGS] & RECEIVES_SUPPORTED_REQUESTS)
        self._keys.key_requests = self.settings.policies[TC_KEY_REQUEST_POLICY]
        policy = self._keys.policy = JoinPolicy.from_decision(self.settings.policies[TRUST_CENTER_POLICY])
        self._stack.trust_centre.unsecured_rejoin_allowed = policy.allow_rejoins and not policy.ignore_rejoins

    def get_configuration_value(self, configuration_id: int) -> tuple[int, int]:
        value = self.settings.configuration.get(configuration_id)
        return (EzspStatus.INVALID_ID, 0) if value is None else (EzspStatus.SUCCESS, value)

    def set_configuration_value(self, configuration_id: int, value: int) -> tuple[int]:
        if configuration_id not in self.settings.configuration:
            return (EzspStatus.INVALID_ID,)
        if self._chip.is_up or configuration_id in _READ_ONLY:
            return (EzspStatus.INVALID_CALL,)
        if configuration_id in _ONE_OCTET and value > 0xFF:
            return (EzspStatus.INVALID_VALUE,)
        limit = self._limit_of(configuration_id)
        if limit is not None and value > limit:
            return (EzspStatus.OUT_OF_MEMORY,)
        self.settings.configuration[configuration_id] = value
        self._apply()
        return (EzspStatus.SUCCESS,)

    def _limit_of(self, configuration_id: int) -> int | None:
        personality = self._personality
        if personality.sizes_are_fixed and configuration_id in _OF_THE_BUILD:
            return (DEFAULTS | personality.configuration)[configuration_id]
        return personality.key_table_limit if configuration_id == KEY_TABLE_SIZE else None

    def set_policy(self, policy: int, decision: int) -> tuple[int]:
        if policy not in self.settings.policies:
            return (EzspStatus.INVALID_ID,)
        self.settings.policies[policy] = decision
        self._apply()
        return (EzspStatus.SUCCESS,)

    def get_policy(self, policy: int) -> tuple[int, int]:
        decision = self.settings.policies.get(policy)
        return (EzspStatus.INVALID_ID, 0) if decision is None else (EzspStatus.SUCCESS, decision)

    def add_endpoint(
        self, number: int, profile: int, device: int, version: int, inputs: int, outputs: int, clusters: bytes
    ) -> tuple[int]:
        if self._chip.is_up:
            return (EzspStatus.INVALID_CALL,)
        if len(clusters) < 2 * (inputs + outputs):
            return (EzspStatus.TRUNCATED,)
        listed = struct.unpack_from(f"<{inputs + outputs}H", clusters)
        self._stack.endpoints[number] = Endpoint(number, profile, device, version, listed[:inputs], listed[inputs:])
        return (EzspStatus.SUCCESS,)

    def get_value(self, value_id: int) -> tuple[int, bytes]:
        value = self._value(value_id)
        return (EzspStatus.INVALID_ID, b"") if value is None else (EzspStatus.SUCCESS, value)

    def _value(self, value_id: int) -> bytes | None:
        match value_id:
            case ValueId.FREE_BUFFERS:
                free = self._personality.free_buffers
                return bytes([self.settings[PACKET_BUFFER_COUNT] if free is None else free])
            case ValueId.MAXIMUM_INCOMING_TRANSFER_SIZE | ValueId.MAXIMUM_OUTGOING_TRANSFER_SIZE:
                return self._stack.maximum_payload(secured=False).to_bytes(2, "little")
            case ValueId.VERSION_INFO:
                return self._personality.version_info()
            case ValueId.NWK_FRAME_COUNTER:
                network = self._stack.network
                counter = self._counters.network if network is None else network.network_frame_counter
                return counter.to_bytes(4, "little")
            case ValueId.APS_FRAME_COUNTER:
                return self._counters.aps.to_bytes(4, "little")
            case ValueId.TRANSIENT_KEY_TIMEOUT_S:
                return int(self._keys.transient_timeout_s).to_bytes(2, "little")
            case _:
                return self.settings.values.get(value_id)

    def set_value(self, value_id: int, value: bytes) -> tuple[int]:
        if value_id in {ValueId.NWK_FRAME_COUNTER, ValueId.APS_FRAME_COUNTER}:
            # UG100 3.3: "cannot be set while the network is up".
            if self._chip.is_up:
                return (EzspStatus.INVALID_CALL,)
            if len(value) != 4:
                return (EzspStatus.INVALID_VALUE,)
            counter = int.from_bytes(value, "little")
            if value_id == ValueId.NWK_FRAME_COUNTER:
                self._counters.network = counter
            else:
                self._counters.aps = counter
                self._keys.first_outgoing_counter = counter
            return (EzspStatus.SUCCESS,)
        if value_id == ValueId.TRANSIENT_KEY_TIMEOUT_S and len(value) == 2:
            self._keys.transient_timeout_s = int.from_bytes(value, "little")
            return (EzspStatus.SUCCESS,)
        if value_id not in self.settings.values:
            return (EzspStatus.INVALID_ID,)
        self.settings.values[value_id] = value
        return (EzspStatus.SUCCESS,)

    def set_manufacturer_code(self, code: int) -> tuple[int]:
        self._stack.manufacturer = code
        return (EzspStatus.SUCCESS,)

    def get_extended_value(self, value_id: int, characteristics: int) -> tuple[int, bytes]:
        """The flags of an endpoint. Of one that is not there, zeros: hosts count on two octets beside the status."""
        if value_id != _ENDPOINT_FLAGS:
            return EzspStatus.INVALID_ID, b""
        if characteristics not in self._stack.endpoints:
            return EzspStatus.INVALID_VALUE, bytes(2)
        return EzspStatus.SUCCESS, _ENDPOINT_ENABLED.to_bytes(2, "little")
