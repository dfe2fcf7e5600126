"""Both radios on the virtual dongle in its own process: a real join, real security, on TCP and on a terminal."""

import pytest

from chf.errors import RadioRefusedError
from chf.eui64 import parse_eui64
from chf.radio.ezsp import EzspRadio, EzspSettings
from chf.radio.interface import Delivery, Outbound, Radio, RadioState
from chf.radio.znp import ZnpRadio, ZnpSettings
from tests.support.air_capture import AirCapture
from tests.support.radio_listener import RecordingListener
from tests.support.virtual_dongle import EUI64, LINK_KEY, ppmid, virtual_dongle

METER = parse_eui64(EUI64)
OTA, TUNNELING, NO_IMAGE_AVAILABLE = 0x0019, 0x0704, 0x98


def make(kind: str, port: str, **settings) -> Radio:
    return ZnpRadio(ZnpSettings(port, **settings)) if kind == "znp" else EzspRadio(EzspSettings(port, **settings))


both = pytest.mark.parametrize("kind", ["ezsp", "znp"])


@pytest.mark.needs_tshark
@both
@pytest.mark.parametrize("listen", ["tcp://127.0.0.1:0", "pty"])
async def test_a_meter_joins_speaks_is_answered_and_is_sent_away(tmp_path, listen, kind):
    listener = RecordingListener()
    with virtual_dongle(tmp_path, ppmid(), "--ncp", kind, listen=listen, capture=True) as dongle:
        radio = make(kind, dongle.port)
        formed = await radio.start(listener, form=True)
        await radio.permit(METER, LINK_KEY, 60)
        await listener.until(lambda: bool(listener.joined))
        assert listener.joined[0][0] == METER
        await listener.until(lambda: bool(listener.received))
        first = listener.received[0]
        assert (first.source, first.profile, first.aps_secured) == (METER, 0x0109, True)
        endpoints = await radio.match_descriptor(METER, 0x0109, [TUNNELING])
        assert endpoints == (first.source_endpoint,)
        # 300 octets for a tunnel that is not open: cut by the hub, put together by the device, which refuses them
        transfer_data = bytes([0x01, 0x55, 0x02, 0x00, 0x00]) + bytes(295)
        assert await radio.send(Outbound(METER, first.source_endpoint, TUNNELING, transfer_data)) is Delivery.DELIVERED
        await listener.until(lambda: listener.received[-1].cluster == TUNNELING)
        await radio.stop()

        again = await radio.start(listener, form=False)
        assert again == formed
        answer = bytes((0x19, first.payload[1], 0x02, NO_IMAGE_AVAILABLE))
        assert await radio.send(Outbound(METER, first.source_endpoint, OTA, answer)) is Delivery.DELIVERED
        await radio.forget(METER)
        assert [kind for _, kind, _ in await radio.export_keys()] == ["nwk"]
        dongle.wait_for("left")
        await radio.stop()
    assert radio.state is RadioState.STOPPED
    frames = AirCapture(tmp_path, dongle.capture, dongle.keys).frames
    assert len(frames("frame")) > 20
    assert frames("_ws.expert || _ws.malformed || wpan.fcs_ok == 0") == []
    assert len(frames("zbee_zcl_general.ota.cmd.srv_tx.id == 0x02")) == 1
    assert frames("zbee_aps.cluster == 0x0704 && zbee_aps.fragments") != []


@both
async def test_a_quiet_channel_is_looked_for_where_none_is_set(tmp_path, kind):
    with virtual_dongle(tmp_path, ppmid(), "--ncp", kind) as dongle:
        radio = make(kind, dongle.port, channel=None)
        info = await radio.start(RecordingListener(), form=True)
        await radio.stop()
    assert info.network is not None
    assert 11 <= info.network.channel <= 26


OTHER_DONGLE = '[ncp]\neui64 = "00-12-4B-00-0A-0B-0C-0D"\n'
SAME_DONGLE = ""  # an EZSP dongle takes another EUI-64 once in its life, if at all


@pytest.mark.parametrize(
    ("old", "new", "scenario"),
    [
        ("ezsp", "znp", OTHER_DONGLE),
        ("znp", "znp", OTHER_DONGLE),
        ("znp", "ezsp", SAME_DONGLE),
        ("ezsp", "ezsp", SAME_DONGLE),
    ],
)
async def test_a_network_moves_to_another_dongle_with_its_identity_and_keys(tmp_path, old, new, scenario):
    listener = RecordingListener()
    (tmp_path / "other").mkdir()
    with virtual_dongle(tmp_path, ppmid(), "--ncp", old) as dongle:
        radio = make(old, dongle.port)
        formed = await radio.start(listener, form=True)
        await radio.permit(METER, LINK_KEY, 60)
        await listener.until(lambda: bool(listener.received))
        keys = await radio.export_keys()
        await radio.stop()
        backup = await radio.backup()
    with virtual_dongle(tmp_path / "other", scenario, "--ncp", new) as dongle:
        radio = make(new, dongle.port)
        restored = await radio.restore(backup)
        assert restored.network == formed.network
        again = await radio.start(listener, form=False)
        assert again.network == formed.network
        assert sorted(await radio.export_keys()) == sorted(keys)
        await radio.stop()


async def test_a_dongle_that_cannot_take_the_identity_is_told_and_keeps_what_it_has(tmp_path):
    listener = RecordingListener()
    (tmp_path / "other").mkdir()
    with virtual_dongle(tmp_path, "", "--ncp", "znp") as dongle:
        radio = make("znp", dongle.port)
        await radio.start(listener, form=True)
        await radio.stop()
        backup = await radio.backup()
    with virtual_dongle(tmp_path / "other", OTHER_DONGLE) as dongle:
        radio = make("ezsp", dongle.port)
        formed = await radio.start(listener, form=True)
        await radio.stop()
        with pytest.raises(RadioRefusedError, match="IEEE address"):
            await radio.restore(backup)
        assert await radio.probe() == formed
