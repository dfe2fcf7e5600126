"""GBCS messages of firmware updates: framing, payloads, codes, signatures, MACs (GP, RTDS: docs/sources.md)."""

from chf.gbcs.build import (
    cosem_date_time,
    cs14_header,
    make_ccs08_alert,
    make_cs06_precommand,
    make_cs06_response,
    make_cs08_command,
    make_cs08_response,
    make_cs09_alert,
    make_cs14_alert,
    make_future_dated_alert,
    make_meter_version_response,
    make_receipt_alert,
    make_version_command,
    response_header,
)
from chf.gbcs.codes import (
    ActivateImageResponseCode,
    ActivateImageResultCode,
    AlertCode,
    CraFlag,
    MessageCode,
    ReadFirmwareVersionResponseCode,
    TransferResponseCode,
    use_case_name,
)
from chf.gbcs.device_log_alert import DeviceLogChangedAlert, LoggedDevice
from chf.gbcs.message import GbcsMessage, GroupingHeader, SupplementaryRemoteParty
from chf.gbcs.meter_version import (
    DlmsReadFirmwareVersionCommand,
    DlmsReadFirmwareVersionResponse,
    GbzReadFirmwareVersionCommand,
    GbzReadFirmwareVersionResponse,
)
from chf.gbcs.security import add_mac, mac_key, mac_key_of, sign, verify_mac, verify_signature
from chf.gbcs.use_cases import (
    CANCELLED_UTC_S,
    ActivateFirmwareCommand,
    CommandAccepted,
    DlmsFirmwareDistributionReceiptAlert,
    ExecutionOutcome,
    FirmwareTransferAlert,
    FutureDatedFirmwareActivationAlert,
    GbzFirmwareDistributionReceiptAlert,
    OpaquePayload,
    Payload,
    PpmidFirmwareActivationAlert,
    ReadFirmwareVersionCommand,
    ReadFirmwareVersionResponse,
    parse_payload,
)
