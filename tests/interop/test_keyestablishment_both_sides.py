"""The device's initiator and the hub's responder, each with its own codec, over an air that the test controls."""

from random import Random

import pytest

from chf.clock import Instant, Now, UtcSeconds
from chf.crypto.ecmqv import Ephemeral, agree
from chf.crypto.ecqv import CertificateAuthority, Suite
from chf.eui64 import Eui64
from chf.keys import Compute, Computed, Established, Failed, Install, Responder, Send
from devices.nodes import events
from devices.nodes.cluster import Discover, TakeLinkKey
from devices.nodes.cluster import Send as DeviceSend
from devices.nodes.key_establishment import KeyEstablishmentClient, State
from devices.wire.key_establishment import Command, Initiate, Terminate, TerminateStatus
from devices.wire.zcl import DefaultResponse, General, Status, ZclFrame
from tests.support.client_bench import heard

HUB, DEVICE, ISSUER, ENDPOINT, UTC = Eui64(0xDB_0001), Eui64(0xDB_0002), 0xDB_00CA, 3, 1_800_000_000
BIG = 1 << 400


def issue(suite, subject, *, authority=BIG, issuer=ISSUER, **validity):
    return CertificateAuthority.generate(suite, issuer, authority).issue(subject, BIG + subject, BIG * 2, **validity)


class Air:
    """Carries frames both ways in order. `lose` says which (counted from 0, either way) never arrive."""

    def __init__(self, suite=Suite.TWO, *, device=None, hub=None, lose=(), utc=None):
        self.hub_credentials = hub or issue(suite, HUB)
        self.device_credentials = device or issue(suite, DEVICE)
        sequence = iter(range(1, 256))
        self.client = KeyEstablishmentClient(self.device_credentials, Random(1), lambda: next(sequence), lambda: utc)
        self.responder = Responder()
        self.responder.equip([self.hub_credentials.certificate])
        self.lose, self.count, self.time = set(lose), 0, 0.0
        self.installed, self.taken, self.events, self.failures = [], [], [], []
        self.recorded = []
        self.tamper = lambda frame: frame

    @property
    def now(self):
        return Now(Instant(self.time), UtcSeconds(UTC + self.time))

    def start(self):
        self.device_does(self.client.start(self.time))
        return self

    def run(self, seconds):
        """Let deadlines pass, the nearest first."""
        end = self.time + seconds
        while True:
            due = [at for at in (self.client.deadline, self.responder.deadline()) if at is not None and at <= end]
            if not due:
                self.time = end
                return
            self.time = max(min(due), self.time)
            self.device_does(self.client.handle_deadline(self.time))
            self.hub_does(self.responder.handle_deadline(Instant(self.time)))

    def arrives(self):
        self.count += 1
        return self.count - 1 not in self.lose

    def device_does(self, effects):
        for effect in effects:
            match effect:
                case DeviceSend(frame=frame):
                    octets = frame.to_bytes()
                    self.recorded.append(octets)
                    if self.arrives():
                        self.hub_does(self.responder.receive(DEVICE, ENDPOINT, octets, self.now))
                case Discover():
                    self.device_does(self.client.found(ENDPOINT, self.time))
                case TakeLinkKey(link_key):
                    self.taken.append(link_key)
                case events.KeyEstablished():
                    pass
                case event:
                    self.events.append(event)

    def hub_does(self, effects):
        for effect in effects:
            match effect:
                case Send(_, _, payload):
                    frame = self.tamper(ZclFrame.from_bytes(payload))
                    if frame is not None and self.arrives():
                        self.device_hears(frame)
                case Compute(token, certificate, ephemeral):
                    own = Ephemeral.from_scalar(certificate.suite.curve, 99 + token.number)
                    got = agree(self.hub_credentials, own, certificate, ephemeral, initiator=False)
                    result = Computed(own.public_key, got.mac_u, got.mac_v, got.link_key)
                    self.hub_does(self.responder.computed(token, result, self.now.instant))
                case Install(token, _, link_key):
                    self.installed.append(link_key)
                    self.hub_does(self.responder.installed(token, self.now.instant, ok=True))
                case Failed():
                    self.failures.append(effect)
                case Established():
                    pass

    def device_hears(self, frame):
        if not frame.cluster_specific:
            command, status = frame.payload
            self.device_does(self.client.receive_default_response(0, DefaultResponse(command, status), self.time))
            return
        status, effects = self.client.receive(frame, heard(source_ieee=HUB, secured=False), self.time)
        self.device_does(effects)
        if status is not None and not (status == Status.SUCCESS and frame.disable_default_response):
            answer = frame.default_response(status).to_bytes()
            self.hub_does(self.responder.receive(DEVICE, ENDPOINT, answer, self.now))

    @property
    def agreed(self):
        return bool(self.taken) and self.taken[-1] == self.installed[-1]


@pytest.mark.parametrize("suite", Suite)
def test_both_sides_take_the_same_key(suite):
    air = Air(suite).start()
    assert air.agreed
    assert len(air.installed) == len(air.taken) == 1
    assert air.responder.deadline() is None
    assert not air.failures
    assert not air.events


@pytest.mark.parametrize("lost", range(7))
def test_whichever_message_is_lost_they_agree_or_start_again(lost):
    air = Air(lose=[lost]).start()
    if lost == 6:  # the device's last Default Response
        assert air.agreed
    else:
        assert not air.taken
        assert air.client.deadline is not None
    air.run(120)
    assert air.agreed
    assert air.client.state is State.ESTABLISHED


def test_a_device_without_the_confirmation_keeps_its_old_key_and_gets_a_new_one():
    air = Air(lose=[5]).start()
    assert len(air.installed) == 1
    assert not air.taken
    air.run(60)
    assert len(air.installed) == 2
    assert air.taken == air.installed[1:]


def test_two_exchanges_make_two_keys():
    air = Air().start()
    air.start()
    assert len(set(air.taken)) == 2
    assert air.agreed


def test_a_replayed_exchange_leaves_the_key_as_it_is():
    air = Air().start()
    key, octets = air.installed[-1], list(air.recorded)
    for frame in octets:
        air.hub_does(air.responder.receive(DEVICE, ENDPOINT, frame, air.now))
    assert air.installed == [key]


def wrong(hub):
    """The device turned the hub away with this."""
    air = Air(hub=hub).start()
    assert not air.taken
    (failed,) = air.events
    assert not failed.by_hub
    return TerminateStatus(failed.status)


def test_the_device_refuses_a_hub_of_another_issuer():
    hub = issue(Suite.TWO, HUB, issuer=0xBAD)
    air = Air(hub=hub).start()  # our own responder refuses first
    assert air.events == [events.KeyEstablishmentFailed("the hub refused", TerminateStatus.UNKNOWN_ISSUER, by_hub=True)]
    client = air.client
    client.start(0.0)
    client.found(ENDPOINT, 0.0)
    frame = ZclFrame(1, Command.INITIATE, Initiate(2, 1, 1, hub.certificate.octets).to_bytes(), from_server=True)
    _, (terminate, failed) = client.receive(frame, heard(source_ieee=HUB, secured=False), 0.0)
    assert Terminate.from_bytes(terminate.frame.payload).status == TerminateStatus.UNKNOWN_ISSUER
    assert failed.status == TerminateStatus.UNKNOWN_ISSUER


def test_the_device_refuses_a_certificate_that_is_not_the_trust_centres():
    assert wrong(issue(Suite.TWO, Eui64(0xDB_0099))) is TerminateStatus.BAD_MESSAGE


def test_the_device_refuses_a_hub_of_a_false_authority():
    air = Air(hub=issue(Suite.TWO, HUB, authority=BIG + 1)).start()
    assert not air.taken
    assert air.failures[0].status.name == "BAD_KEY_CONFIRM"


def test_the_device_refuses_an_expired_hub_where_it_knows_the_time():
    air = Air(hub=issue(Suite.TWO, HUB, valid_from=5, valid_seconds=5), utc=UTC).start()
    assert air.events[0].status == TerminateStatus.INVALID_CERTIFICATE
    assert Air(hub=issue(Suite.TWO, HUB, valid_from=5, valid_seconds=5), utc=None).start().agreed


def test_the_device_takes_no_key_on_a_wrong_mac():
    air = Air()

    def spoil(frame):
        if frame.command == Command.CONFIRM_KEY_DATA and frame.cluster_specific:
            return ZclFrame(frame.sequence, frame.command, bytes(16), from_server=True)
        return frame

    air.tamper = spoil
    air.start()
    assert not air.taken
    assert air.events[0].status == TerminateStatus.BAD_KEY_CONFIRM
    assert air.failures[0].reason.startswith("the device said BAD_KEY_CONFIRM")


@pytest.mark.parametrize("octets", [b"", b"\x02" + bytes(36), b"\x02" + b"\xff" * 36, bytes(37)])
def test_the_device_refuses_an_ephemeral_key_that_is_no_point(octets):
    air = Air()

    def spoil(frame):
        if frame.command == Command.EPHEMERAL_DATA and frame.cluster_specific:
            return ZclFrame(frame.sequence, frame.command, octets, from_server=True)
        return frame

    air.tamper = spoil
    air.start()
    assert air.events[0].status == TerminateStatus.BAD_MESSAGE
    assert not air.taken


def test_a_device_waits_as_long_as_the_hub_says():
    air = Air()
    air.client.start(0.0)
    air.client.found(ENDPOINT, 0.0)
    terminate = Terminate(TerminateStatus.NO_RESOURCES, 77, 3).to_bytes()
    air.device_hears(ZclFrame(1, Command.TERMINATE, terminate, from_server=True))
    assert air.client.deadline == 77.0
    air.run(76)
    assert not air.agreed
    air.run(2)
    assert air.agreed


def test_a_hub_without_the_cluster_is_asked_again_after_a_while():
    air = Air()
    air.client.start(0.0)
    air.device_does(air.client.found(None, 0.0))
    assert air.client.deadline == 60.0
    air.client.start(1.0)
    air.client.found(ENDPOINT, 1.0)
    unsupported = ZclFrame(1, General.DEFAULT_RESPONSE, bytes((0, 0x81)), cluster_specific=False, from_server=True)
    air.device_hears(unsupported)
    assert air.client.state is State.WAITING


def test_messages_out_of_order_are_refused_by_the_device():
    air = Air()
    air.client.start(0.0)
    air.client.found(ENDPOINT, 0.0)
    air.device_hears(ZclFrame(1, Command.CONFIRM_KEY_DATA, bytes(16), from_server=True, disable_default_response=True))
    assert air.events[0].status == TerminateStatus.BAD_MESSAGE
    assert not air.taken


def test_the_device_waits_as_long_as_the_hub_says_that_it_needs():
    air = Air()
    client = air.client
    client.start(0.0)
    client.found(ENDPOINT, 0.0)
    initiate = Initiate(2, 30, 45, air.hub_credentials.certificate.octets)
    for command, payload, deadline in (
        (Command.INITIATE, initiate.to_bytes(), 10 + 30),
        (Command.EPHEMERAL_DATA, Ephemeral.from_scalar(Suite.TWO.curve, 77).public_key, 10 + 45),
    ):
        frame = ZclFrame(1, command, payload, from_server=True)
        client.receive(frame, heard(source_ieee=HUB, secured=False), 0.0)
        assert client.deadline == deadline


@pytest.mark.parametrize("how", [{"secured": True}, {"destination": 0xFFFD}, {"source": 0x4321}])
def test_the_device_takes_key_establishment_from_the_hub_alone_and_never_under_a_link_key(how):
    client = Air().client
    client.start(0.0)
    client.found(ENDPOINT, 0.0)
    frame = ZclFrame(1, Command.TERMINATE, Terminate(2, 5, 2).to_bytes(), from_server=True)
    assert client.receive(frame, heard(**{"source_ieee": HUB, "secured": False, **how}), 0.0) == (
        Status.NOT_AUTHORIZED,
        [],
    )
    assert client.state is State.INITIATING


def test_a_confirmation_that_is_said_again_changes_nothing():
    air = Air().start()
    assert air.agreed
    frame = ZclFrame(9, Command.CONFIRM_KEY_DATA, bytes(16), from_server=True)
    assert air.client.receive(frame, heard(source_ieee=HUB, secured=False), air.time) == (Status.SUCCESS, [])
    assert air.client.state is State.ESTABLISHED
