"""Wireshark's GBCS dissector over every message that the emulated devices of the second method send."""

import pytest

from chf.gbcs import CANCELLED_UTC_S
from devices.nodes.settings import CommandedKind, Faults
from tests.support.commanded_rig import STRANGER_KEY, CommandedRig, image_hash, signed_image
from tests.support.gbcs_dissection import dissect

pytestmark = pytest.mark.needs_tshark

IMAGE = signed_image()
HASH = image_hash(IMAGE)


def everything(kind: CommandedKind) -> list[bytes]:
    """Receipts of both kinds, every answer to CS06, both alerts of a future-dated one, and the version."""
    bad = CommandedRig.started(kind=kind, hub_image=signed_image(key=STRANGER_KEY))
    bad.say(bad.cs06(HASH))
    bad.say(bad.cs06(HASH, bad.utc + 5))
    bad.run(30)
    broken = CommandedRig.started(kind=kind, hub_image=IMAGE, faults=Faults(firmware_does_not_boot=True))
    broken.say(broken.cs06(HASH))
    broken.restarted()
    good = CommandedRig.started(kind=kind, hub_image=IMAGE)
    good.say(good.cs08() if kind is CommandedKind.HCALCS else good.ask_meter())
    good.say(good.cs06(bytes(32)))
    good.say(good.cs06(HASH, CANCELLED_UTC_S))
    good.say(good.cs06(HASH, good.utc + 5))
    good.run(10)
    good.restarted()
    return [*bad.hub.alerts, *broken.hub.alerts, *good.hub.alerts]


NAMES = {
    CommandedKind.HCALCS: (
        "Firmware Distribution Receipt Alert (GSME) (0x00cf)",
        "Alert Code: Firmware Verification Successful (0x8f72)",
        "Alert Code: Firmware Verification Failed (0x8f1c)",
        "Message Code: Unknown (0x0129)",  # CS08, younger than this dissector
    ),
    CommandedKind.GSME: (
        "Firmware Distribution Receipt Alert (GSME) (0x00cf)",
        "Message Code: GCS38 Read GSME Firmware Version (0x0084)",
        "Extended Header Cluster ID: Simple Metering (0x0702)",
    ),
    CommandedKind.ESME: (
        "Firmware Distribution Receipt Alert (ESME or Comms Hub) (0x00ce)",
        "Message Code: ECS52 Read ESME/Comms Hub Firmware Version (0x0059)",
    ),
}


@pytest.mark.parametrize("kind", NAMES)
def test_the_dissector_knows_every_message_and_finds_nothing_malformed(kind, tmp_path):
    packets = dissect(everything(kind), tmp_path)
    assert len(packets) >= 11
    for packet in packets:
        assert "Malformed" not in packet
        assert "Dissector bug" not in packet
    shown = "\n".join(packets)
    assert "Message Code: CS06 Activate Firmware (0x0012)" in shown
    assert "Futured Dated Firmware Activation Alert (0x00ca)" in shown
    assert f"INTEGER: {0x8F66}" in shown
    assert f"INTEGER: {0x8F67}" in shown
    for name in NAMES[kind]:
        assert name in shown
