"""A GBCS message told to a person, and as plain values for JSON. The one place where field names become words."""

import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, assert_never

from chf.gbcs import meter_version, use_cases
from chf.gbcs.build import cosem_date_time
from chf.gbcs.codes import AlertCode, CraFlag, ReadFirmwareVersionResponseCode, use_case_name
from chf.gbcs.device_log_alert import DeviceLogChangedAlert
from chf.gbcs.dlms import invoke_id
from chf.gbcs.message import GbcsMessage

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ZIGBEE_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_KINDS = {CraFlag.COMMAND: "command", CraFlag.RESPONSE: "response", CraFlag.ALERT: "alert"}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the explanation: `name` is also the key in JSON."""

    name: str
    value: str


def describe(message: GbcsMessage) -> tuple[Line, ...]:
    """Framing first, then the payload. Raises MalformedMessageError where the payload is not what the code promises."""
    header = message.header
    lines = [
        Line("use_case", use_case_name(header.message_code)),
        Line("message_code", f"0x{header.message_code:04X}"),
        Line("kind", _KINDS[header.cra]),
        Line("originator", _eui(header.originator)),
        Line("recipient", _eui(header.recipient)),
        Line("counter", str(header.counter)),
    ]
    if header.date_time:
        lines.append(Line("date_time", _cosem(header.date_time)))
    party = header.supplementary
    if party is not None:
        lines.append(Line("on_behalf_of", _eui(party.entity_id)))
        if party.counter is not None:
            lines.append(Line("on_behalf_of_counter", str(party.counter)))
    lines += [Line(name, value) for name, value in _payload(use_cases.parse_payload(message)).items()]
    lines += [Line("signature", _signature(message)), Line("mac", message.mac.hex().upper() if message.mac else "none")]
    return tuple(lines)


def as_json(message: GbcsMessage) -> dict[str, Any]:
    """The same lines as one object, with the octets. Counters stay text: they go beyond what JSON readers hold."""
    return {
        "schema": 1,
        **{line.name: line.value for line in describe(message)},
        "payload": message.payload.hex().upper(),
        "message": message.to_bytes().hex().upper(),
    }


def _payload(payload: use_cases.Payload) -> dict[str, str]:
    match payload:
        case use_cases.ActivateFirmwareCommand():
            return {
                "manufacturer_image_hash": payload.manufacturer_image_hash.hex().upper(),
                "command_counter": str(payload.originator_counter),
                "execution": _execution(payload.execution_utc_s),
            }
        case use_cases.CommandAccepted():
            return {"outcome": "accepted, to be carried out at its time"}
        case use_cases.ExecutionOutcome():
            return _outcome(payload)
        case use_cases.FutureDatedFirmwareActivationAlert():
            return {
                **_alert(payload.alert_code),
                "execution": _utc(payload.execution_utc_s),
                "command_counter": str(payload.originator_counter),
                **_outcome(payload.outcome),
            }
        case use_cases.ReadFirmwareVersionCommand() | meter_version.GbzReadFirmwareVersionCommand():
            return {}
        case meter_version.DlmsReadFirmwareVersionCommand():
            return {"invoke_id": _invoke_id(payload.counter)}
        case meter_version.DlmsReadFirmwareVersionResponse():
            read = _read_back(payload.firmware_version, f"data-access-result {payload.result}")
            return {"invoke_id": _invoke_id(payload.counter), **read}
        case meter_version.GbzReadFirmwareVersionResponse():
            return _read_back(payload.firmware_version, f"status 0x{payload.status:02X}")
        case use_cases.ReadFirmwareVersionResponse():
            return {
                "firmware_version": _version(payload.firmware_version),
                "outcome": _words(payload.response_code.name),
            }
        case DeviceLogChangedAlert():
            return {
                "invoke_id": _invoke_id(payload.counter),
                **_alert(payload.alert_code),
                "time": _cosem(payload.changed),
                "log_time": _cosem(payload.logged or payload.changed),
                "extended_pan_id": f"{payload.extended_pan_id:016X}",
                "devices": " ".join(_eui(device.eui64) for device in payload.devices),
                "with_link_key": " ".join(_eui(device.eui64) for device in payload.devices if device.hashed_link_key),
            }
        case use_cases.FirmwareTransferAlert():
            return {
                **_alert(payload.alert_code),
                "time": _utc(payload.utc_s),
                "device": _eui(payload.other_entity),
                "firmware_version": _version(payload.firmware_version),
                "outcome": _words(payload.response_code.name),
            }
        case use_cases.PpmidFirmwareActivationAlert():
            return {
                **_alert(payload.alert_code),
                "time": _utc(payload.utc_s),
                "firmware_version": _version(payload.firmware_version),
                "outcome": _words(payload.result.name),
            }
        case use_cases.GbzFirmwareDistributionReceiptAlert():
            return {
                **_alert(payload.alert_code),
                "time": _iso(_ZIGBEE_EPOCH + timedelta(seconds=payload.zigbee_time)),
                "manufacturer_image_hash": payload.manufacturer_image_hash.hex().upper(),
            }
        case use_cases.DlmsFirmwareDistributionReceiptAlert():
            return {
                "invoke_id": _invoke_id(payload.counter),
                **_alert(payload.alert_code),
                "time": _cosem(payload.date_time),
                "manufacturer_image_hash": payload.manufacturer_image_hash.hex().upper(),
            }
        case use_cases.OpaquePayload():
            return {"payload_octets": str(len(payload.octets))}
        case _:
            assert_never(payload)


def _outcome(outcome: use_cases.ExecutionOutcome) -> dict[str, str]:
    return {"outcome": _words(outcome.response_code.name), "firmware_version": _version(outcome.firmware_version)}


def _read_back(version: int | None, failure: str) -> dict[str, str]:
    """In the words of CS08, whose response code the meters do not have."""
    if version is None:
        return {"outcome": f"read failure: {failure}"}
    return {"firmware_version": _version(version), "outcome": _words(ReadFirmwareVersionResponseCode.READ_SUCCESS.name)}


def _invoke_id(counter: int) -> str:
    return invoke_id(counter).hex().upper()


def _signature(message: GbcsMessage) -> str:
    if message.signature is None:
        return "none: a pre-command, to be signed"
    return message.signature.hex().upper() or "none"


def _execution(utc_s: int | None) -> str:
    if utc_s is None:
        return "at once"
    return "never: cancels an earlier command" if utc_s == use_cases.CANCELLED_UTC_S else _utc(utc_s)


def _utc(utc_s: int) -> str:
    return _iso(_EPOCH + timedelta(seconds=utc_s))


def _cosem(date_time: bytes) -> str:
    """A COSEM date-time that names one second, as devices write it, in the words of the others; else its octets."""
    year, month, day, _weekday, hour, minute, second = struct.unpack(">H6B", date_time[:8])
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return date_time.hex().upper()
    return _iso(moment) if cosem_date_time(moment.timestamp()) == date_time else date_time.hex().upper()


def _iso(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _eui(eui64: int) -> str:
    return eui64.to_bytes(8, "big").hex("-").upper()


def _version(version: int) -> str:
    return f"0x{version:08X}"


def _alert(code: AlertCode) -> dict[str, str]:
    return {"alert_code": f"0x{code:04X}", "alert": _words(code.name)}


def _words(name: str) -> str:
    return name.lower().replace("_", " ")
