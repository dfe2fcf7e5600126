"""Our tunnel client against the emulated device's tunnel server: two codecs that share no line, over a lossy wire."""

import random

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from chf.clock import Instant
from chf.eui64 import Eui64
from chf.gbcs import GbcsMessage, make_cs09_alert, parse_payload
from chf.tunnel import (
    Alarm,
    DiscoverEndpoint,
    MessageDelivered,
    MessageFailed,
    MessageReceived,
    Send,
    State,
    TunnelClient,
    TunnelLost,
    TunnelOpened,
)
from devices.nodes.cluster import Send as DeviceSend
from devices.nodes.tunnel_server import Arrived, Peer, Taken, TunnelServer
from devices.stack.interface import COORDINATOR
from devices.wire.zcl import DefaultResponse, General, ZclFrame

PPMID, ENDPOINT, HUB_ENDPOINT = Eui64(0x00DB1234567890A4), 0x2A, 0x0B
CS09 = make_cs09_alert(
    PPMID, 0x90B3D51F30000002, 1, utc=0, firmware_version=2, success=True, key=ec.derive_private_key(9, ec.SECP256R1())
)


class Wire:
    """Both ends on one simulated clock; `loss` is the share of frames that vanish, each way."""

    def __init__(self, loss: float, seed: int) -> None:
        self.random = random.Random(seed)
        self.loss = loss
        self.now = 0.0
        self.client = TunnelClient()
        self.boots = 0
        self.stored: list[bytes] = []
        self.taken: list[bytes] = []
        self.arrived: list[bytes] = []
        self.fates: list[object] = []
        self.alarms: list[str] = []
        self.boot()

    def boot(self) -> None:
        """The device starts, and has forgotten everything but what it must say."""
        self.boots += 1
        self.sequence = 0
        self.device = TunnelServer(self.boots * 100, self.next_sequence, retry_s=5, retry_max_s=60)

    def next_sequence(self) -> int:
        self.sequence = (self.sequence + 1) % 256
        return self.sequence

    def join(self) -> None:
        self.hub(self.client.device_joined(PPMID, Instant(self.now)))

    def hub(self, effects) -> None:
        for effect in effects:
            match effect:
                case DiscoverEndpoint():
                    self.hub(self.client.endpoints_found(PPMID, (ENDPOINT,), Instant(self.now)))
                case Send(payload=payload) if self.random.random() >= self.loss:
                    self.to_device(ZclFrame.from_bytes(payload))
                case MessageReceived(data=data, token=token):
                    self.stored.append(data)
                    self.hub(self.client.accepted(token))
                case MessageDelivered() | MessageFailed():
                    self.fates.append(effect)
                case Alarm():
                    self.alarms.append(effect.text)
                case TunnelOpened():
                    self.opened = effect.record
                case Send() | TunnelLost():
                    pass  # a Send that was lost

    def to_device(self, frame: ZclFrame) -> None:
        if not frame.cluster_specific:
            assert frame.command == General.DEFAULT_RESPONSE
            response = DefaultResponse.from_bytes(frame.payload)
            self.did(self.device.receive_default_response(frame.sequence, response))
            return
        status, effects = self.device.receive(frame, Peer(COORDINATOR, HUB_ENDPOINT), self.now)
        self.did(effects)
        if status is not None and (status != 0 or not frame.disable_default_response):
            self.to_hub(frame.default_response(status))

    def did(self, effects) -> None:
        for effect in effects:
            match effect:
                case DeviceSend(frame=frame):
                    self.to_hub(frame)
                case Taken(message=message):
                    self.taken.append(message)
                case Arrived(message=message):
                    self.arrived.append(message)

    def to_hub(self, frame: ZclFrame) -> None:
        if self.random.random() >= self.loss:
            self.hub(self.client.receive(PPMID, ENDPOINT, frame.to_bytes(), Instant(self.now), secured=True))

    def run(self, until) -> None:
        for _ in range(10_000):
            if until():
                return
            hub, device = self.client.deadline(), self.device.deadline
            due = [deadline for deadline in (hub, device) if deadline is not None]
            assert due, "nothing more will happen"
            self.now = max(self.now, min(due))
            if device is not None and device <= self.now:
                self.did(self.device.handle_deadline(self.now))
            if hub is not None and hub <= self.now:
                self.hub(self.client.handle_deadline(Instant(self.now)))
        pytest.fail("it does not come to an end")


@pytest.mark.parametrize("loss", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("seed", range(5))
def test_tunnel_alert_comes_up_whole_whatever_is_lost(loss, seed):
    wire = Wire(loss, seed)
    wire.device.send(CS09, 0.0)
    wire.join()
    wire.run(lambda: wire.taken)
    assert wire.taken == [CS09]
    assert set(wire.stored) == {CS09}
    assert len(wire.stored) == 1 or loss > 0
    assert parse_payload(GbcsMessage.from_bytes(wire.stored[0])).firmware_version == 2


@pytest.mark.parametrize("loss", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("seed", range(5))
def test_tunnel_messages_go_down_in_order_whatever_is_lost(loss, seed):
    wire = Wire(loss, seed)
    wire.join()
    messages = [bytes([number]) * 100 for number in range(5)]
    for number, message in enumerate(messages):
        wire.hub(wire.client.send(PPMID, f"m{number}", message, Instant(wire.now)))
    wire.run(lambda: len(wire.fates) == 5)
    assert wire.fates == [MessageDelivered(PPMID, f"m{number}") for number in range(5)]
    assert list(dict.fromkeys(wire.arrived)) == messages


def test_tunnel_device_that_reboots_without_a_word_gets_its_message_through_a_new_tunnel():
    wire = Wire(0.0, 0)
    wire.join()
    wire.run(lambda: wire.client.state(PPMID) is State.OPEN)
    wire.boot()
    wire.hub(wire.client.send(PPMID, "m", b"after the reboot", Instant(wire.now)))
    wire.run(lambda: wire.fates)
    assert wire.arrived == [b"after the reboot"]


def test_tunnel_hub_that_restarts_keeps_its_tunnel():
    wire = Wire(0.0, 0)
    wire.join()
    wire.run(lambda: wire.client.state(PPMID) is State.OPEN)
    restarted = TunnelClient()
    restarted.restore([wire.opened])
    wire.client = restarted
    wire.did(wire.device.send(CS09, wire.now))
    assert (wire.stored, wire.taken) == ([CS09], [CS09])


def test_tunnel_hub_that_forgot_everything_is_told_again():
    wire = Wire(0.0, 0)
    wire.join()
    wire.run(lambda: wire.client.state(PPMID) is State.OPEN)
    wire.client = TunnelClient()
    wire.did(wire.device.send(CS09, wire.now))
    assert wire.stored == []
    assert len(wire.alarms) == 1
    wire.join()
    wire.run(lambda: wire.taken)
    assert wire.stored == [CS09]
