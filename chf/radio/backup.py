"""Backups of networks: read as zigpy, ZHA and Zigbee2MQTT write them, and judged before anything of a dongle changes.

The formats: the Open Coordinator Backup (github.com/zigpy/open-coordinator-backup, version 1), which zigpy-cli and
Zigbee2MQTT's coordinator_backup.json have, and zigpy's own JSON (`NetworkBackup.as_dict`), which ZHA lets download.
zigpy reads both and takes much on trust: keys of any length, channels that no radio has, consent to burn an address.
"""

import copy
from typing import Any

import zigpy.backups
from zigpy.types import EUI64, KeyData, uint32_t

from chf.errors import UsageError

COUNTER_INCREMENT = 10_000  # our choice
"""The frame counters of a restored network begin so much higher: what was sent after the backup is not used again."""

_FORMAT = "zigpy/open-coordinator-backup"  # open-coordinator-backup, schema: metadata.format
_VERSION = 1  # the same: metadata.version
_OWN_VERSIONS = (0, 1)  # zigpy 2.4.0, BACKUP_FORMAT_VERSION and the one before
_COUNTER_LIMIT = 0xFFFF_FFFF  # Zigbee R22 4.3.1.2: with a counter of this value nothing is sent any more
_CHANNELS = range(11, 27)  # IEEE 802.15.4, the channels at 2.4 GHz
_PAN_IDS = range(1, 0xFFFF)  # IEEE 802.15.4: 0xFFFF is the broadcast PAN; 0 is what an unset item reads as
_SECURITY_LEVEL = 5  # Zigbee R22 4.4.1.2: the one level that ZigBee networks use
_COORDINATOR = 0x0000  # Zigbee R22 3.6.1.7
_KEY_BYTES = 16
_NO_ADDRESSES = tuple(EUI64.convert(":".join((octet,) * 8)) for octet in ("00", "FF"))
_NO_KEYS = (KeyData(bytes(_KEY_BYTES)), KeyData(b"\xff" * _KEY_BYTES))
_BURNS = "i_understand_i_can_update_eui64_only_once_and_i_still_want_to_do_it"  # bellows 1.2.1


def read_backup(described: dict[str, Any]) -> zigpy.backups.NetworkBackup:
    """The network of a backup that any dongle with enough room can take. Raises UsageError, which names what is wrong.

    A file's consent to burn an EUI-64 that can be written once is not taken: no way leads back from that.
    """
    described = copy.deepcopy(described)
    try:
        _check_format(described)
        backup = zigpy.backups.NetworkBackup.from_dict(described)
        _check(backup)
    except KeyError as error:
        raise UsageError(f"this is no backup of a network: {error.args[0]!r} is missing") from None
    except (AttributeError, AssertionError, IndexError, TypeError, ValueError) as error:
        raise UsageError(f"this is no backup of a network: {type(error).__name__}") from None
    backup.network_info.stack_specific.get("ezsp", {}).pop(_BURNS, None)
    return backup


def _check_format(described: dict[str, Any]) -> None:
    metadata = described.get("metadata")
    if metadata is None:
        version = described.get("version", 0)
        _require("network_info" in described, "this is no backup of a network")
        _require(version in _OWN_VERSIONS, f"zigpy's backup format has version {version!r} here, which is not known")
        network = described["network_info"]
        keys = {"the network key": network["network_key"]["key"]}
        keys |= {f"the link key of {key['partner_ieee']}": key["key"] for key in network["key_table"]}
        keys = {name: key.replace(":", "") for name, key in keys.items()}
    else:
        its, version = metadata["format"], metadata["version"]
        _require(its == _FORMAT and version == _VERSION, f"format {its!r}, version {version!r} is not known")
        metadata.setdefault("internal", {})  # optional in the schema, and not in zigpy
        keys = {"the network key": described["network_key"]["key"]}
        keys |= {
            f"the link key of {device['ieee_address']}": device["link_key"]["key"]
            for device in described["devices"]
            if "link_key" in device
        }
    for name, key in keys.items():
        length = len(bytes.fromhex(key))
        _require(length == _KEY_BYTES, f"{name} has {length} octets, and should have {_KEY_BYTES}")


def _check(backup: zigpy.backups.NetworkBackup) -> None:
    node, network = backup.node_info, backup.network_info
    _require(node.ieee not in _NO_ADDRESSES, "it does not say the coordinator's EUI-64")
    _require(node.nwk == _COORDINATOR, "it is not a coordinator's")
    _require(network.extended_pan_id not in _NO_ADDRESSES, "it does not say the extended PAN id")
    _require(network.pan_id in _PAN_IDS, f"no network has the PAN id 0x{network.pan_id:04X}")
    _require(network.channel in _CHANNELS, f"there is no channel {network.channel}: they are 11 to 26")
    _require(network.security_level == _SECURITY_LEVEL, f"security level {network.security_level} is not ZigBee's")
    _require(network.network_key.key not in _NO_KEYS, "it does not hold the network key")
    for key in (network.network_key, network.tc_link_key, *network.key_table):
        counter = key.tx_counter or 0
        _require(0 <= counter <= _COUNTER_LIMIT, f"{counter} is no frame counter")
        _require(counter + COUNTER_INCREMENT < _COUNTER_LIMIT, f"the frame counter {counter} is used up: form anew")
    if network.children or network.key_table or network.nwk_addresses:
        _require(
            bool(network.network_key.tx_counter),
            "its network key has the frame counter 0, which its devices would take for a replay: some programs do not"
            " save the counter",
        )


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise UsageError(otherwise if otherwise.startswith("this is") else f"this backup is of no use: {otherwise}")


def to_write(backup: zigpy.backups.NetworkBackup) -> zigpy.backups.NetworkBackup:
    """The backup with higher frame counters. zigpy raises the network key's alone."""
    written = copy.deepcopy(backup)
    network = written.network_info
    for key in (network.network_key, network.tc_link_key, *network.key_table):
        raised = min((key.tx_counter or 0) + COUNTER_INCREMENT, _COUNTER_LIMIT - 1)
        key.tx_counter = uint32_t(raised)  # type: ignore[no-untyped-call]
    return written


def differences(wanted: zigpy.backups.NetworkBackup, found: zigpy.backups.NetworkBackup) -> str:
    """What a dongle does not have of the network that was written to it; "" where it has all. Names no key."""
    ours, its = wanted.network_info, found.network_info
    missing = [
        name
        for name, one, other in (
            ("EUI-64", wanted.node_info.ieee, found.node_info.ieee),
            ("extended PAN id", ours.extended_pan_id, its.extended_pan_id),
            ("PAN id", ours.pan_id, its.pan_id),
            ("channel", ours.channel, its.channel),
            ("network key", ours.network_key.key, its.network_key.key),
        )
        if one != other
    ]
    held = {(key.partner_ieee, key.key.serialize()) for key in its.key_table}
    lost = sum((key.partner_ieee, key.key.serialize()) not in held for key in ours.key_table)
    if lost:
        missing.append(f"{lost} of {len(ours.key_table)} link keys")
    if its.network_key.tx_counter < ours.network_key.tx_counter:
        missing.append("frame counter")
    return ", ".join(missing)
