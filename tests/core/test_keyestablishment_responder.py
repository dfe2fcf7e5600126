"""The responder of key establishment against a device made of hand-written frames."""

import pytest

from chf.clock import Instant, Now, UtcSeconds
from chf.crypto.ecmqv import Ephemeral, agree
from chf.crypto.ecqv import CertificateAuthority, CertificateError, InvalidPointError, Suite
from chf.eui64 import Eui64
from chf.keys import (
    ComputationFailure,
    Computed,
    Established,
    Failed,
    Install,
    KeyEstablishmentSettings,
    Responder,
    Send,
    State,
    Token,
)
from chf.keys.transitions import ENDS, TRANSITIONS, Input
from chf.machine import next_state
from chf.zcl.frame import DefaultResponse, Frame, FrameType, Status
from chf.zcl.key_establishment import (
    ConfirmKeyData,
    EphemeralData,
    InitiateKeyEstablishment,
    TerminateKeyEstablishment,
    TerminateStatus,
    command,
    parse,
)

HUB, DEVICE, OTHER = Eui64(0xDB_0001), Eui64(0xDB_0002), Eui64(0xDB_0003)
ISSUER, ENDPOINT, UTC = 0xDB_00CA, 3, 1_800_000_000
BIG = 1 << 400


def issue(suite, subject, *, authority=BIG, issuer=ISSUER, **validity):
    return CertificateAuthority.generate(suite, issuer, authority).issue(subject, BIG + subject, BIG * 2, **validity)


class Desk:
    """A responder, a shell that does what it is told when the test says so, and a device that does it right."""

    def __init__(self, suite=Suite.TWO, peer=DEVICE, settings=None, credentials=None):
        self.suite, self.peer = suite, peer
        self.hub = {each: issue(each, HUB) for each in Suite}
        self.responder = Responder(settings)
        self.responder.equip(own.certificate for own in self.hub.values())
        self.device = credentials or issue(suite, peer)
        self.ephemeral = Ephemeral.from_scalar(suite.curve, 424242)
        self.instant = 100.0

    @classmethod
    def initiated(cls):
        desk = cls()
        desk.initiate()
        return desk

    @property
    def now(self):
        return Now(Instant(self.instant), UtcSeconds(UTC + self.instant))

    def receive(self, body, peer=None, sequence=1):
        octets = command(body, sequence, to_client=False)
        return self.responder.receive(peer or self.peer, ENDPOINT, octets, self.now)

    def initiate(self, certificate=None, suite=None, **options):
        certificate = self.device.certificate.octets if certificate is None else certificate
        return self.receive(InitiateKeyEstablishment(suite or self.suite.value, 5, 6, certificate), **options)

    def send_ephemeral(self, public_key=None):
        return self.receive(EphemeralData(self.ephemeral.public_key if public_key is None else public_key))

    def compute(self, effects):
        """What the hub's worker does with a Compute."""
        (compute,) = effects
        own, ephemeral = self.hub[self.suite], Ephemeral.from_scalar(self.suite.curve, 171717 + compute.token.number)
        try:
            got = agree(own, ephemeral, compute.certificate, compute.ephemeral, initiator=False)
        except CertificateError:
            result = ComputationFailure.CERTIFICATE
        except InvalidPointError:
            result = ComputationFailure.EPHEMERAL
        else:
            result = Computed(ephemeral.public_key, got.mac_u, got.mac_v, got.link_key)
        return self.responder.computed(compute.token, result, self.now.instant)

    def agreed(self, effects):
        """The device's view after the hub's ephemeral key came."""
        (answer,) = said(effects)
        certificate = self.hub[self.suite].certificate
        return agree(self.device, self.ephemeral, certificate, answer.public_key, initiator=True)

    def up_to_install(self):
        self.initiate()
        agreement = self.agreed(self.compute(self.send_ephemeral()))
        (install,) = self.receive(ConfirmKeyData(agreement.mac_u))
        return install, agreement

    def establish(self):
        install, agreement = self.up_to_install()
        return self.responder.installed(install.token, self.now.instant, ok=True), agreement


def said(effects):
    frames = [Frame.from_bytes(effect.payload) for effect in effects if isinstance(effect, Send)]
    return [parse(frame) for frame in frames if frame.frame_type is FrameType.CLUSTER]


def refused(effects, status, *, wait_time_s=0):
    """The device is told by Terminate and nothing else; the reason is for people."""
    assert said(effects) == [TerminateKeyEstablishment(status, wait_time_s, 0x0003)]
    (failed,) = [effect for effect in effects if isinstance(effect, Failed)]
    assert failed.status is status
    return failed.reason


@pytest.mark.parametrize("suite", Suite)
def test_an_exchange_ends_with_the_same_key_on_both_sides(suite):
    desk = Desk(suite)
    (answer,) = said(desk.initiate())
    assert answer == InitiateKeyEstablishment(suite.value, 10, 10, desk.hub[suite].certificate.octets)
    agreement = desk.agreed(desk.compute(desk.send_ephemeral()))
    (install,) = desk.receive(ConfirmKeyData(agreement.mac_u))
    assert (install.suite, install.link_key) == (suite, agreement.link_key)
    confirmation, established = desk.responder.installed(install.token, desk.now.instant, ok=True)
    assert said([confirmation]) == [ConfirmKeyData(agreement.mac_v)]
    assert established == Established(DEVICE, suite)


def test_the_key_is_installed_before_it_is_confirmed():
    desk = Desk()
    install, _ = desk.up_to_install()
    assert isinstance(install, Install)
    assert desk.responder.state(DEVICE) is State.INSTALLING


def test_a_key_that_cannot_be_installed_is_not_confirmed():
    desk = Desk()
    install, _ = desk.up_to_install()
    effects = desk.responder.installed(install.token, desk.now.instant, ok=False)
    refused(effects, TerminateStatus.NO_RESOURCES, wait_time_s=5)
    assert desk.responder.state(DEVICE) is None


def test_the_answers_carry_the_sequence_and_ask_for_no_answer_but_the_last():
    desk = Desk()
    octets = command(InitiateKeyEstablishment(2, 5, 6, desk.device.certificate.octets), 77, to_client=False)
    (send,) = desk.responder.receive(DEVICE, ENDPOINT, octets, desk.now)
    frame = Frame.from_bytes(send.payload)
    assert (frame.sequence, frame.to_client, frame.disable_default_response) == (77, True, True)
    assert (send.peer, send.endpoint) == (DEVICE, ENDPOINT)
    (confirmation, _), _ = Desk().establish()
    assert not Frame.from_bytes(confirmation.payload).disable_default_response


# Certificates


def of_device(**how):
    return issue(Suite.TWO, DEVICE, **how).certificate.octets


SIGNING_ONLY = of_device()[:36] + b"\x80" + of_device()[37:]


@pytest.mark.parametrize(
    ("certificate", "status"),
    [
        (of_device(issuer=0xBAD), TerminateStatus.UNKNOWN_ISSUER),
        (issue(Suite.TWO, OTHER).certificate.octets, TerminateStatus.BAD_MESSAGE),
        (of_device(valid_from=UTC - 1000, valid_seconds=50), TerminateStatus.INVALID_CERTIFICATE),
        (of_device(valid_from=UTC + 1000, valid_seconds=50), TerminateStatus.INVALID_CERTIFICATE),
        (SIGNING_ONLY, TerminateStatus.INVALID_CERTIFICATE),
        *((octets, TerminateStatus.BAD_MESSAGE) for octets in (b"", b"\0" * 48, b"\0" * 75)),
    ],
    ids=["issuer", "device", "expired", "not yet valid", "for signing only", "empty", "of suite 1", "too long"],
)
def test_a_certificate_that_does_not_fit_is_refused(certificate, status):
    desk = Desk()
    refused(desk.initiate(certificate), status)
    assert desk.responder.state(DEVICE) is None


@pytest.mark.parametrize("suite", Suite)
def test_a_certificate_whose_point_is_not_on_the_curve_is_refused(suite):
    desk = Desk(suite)
    octets, at = bytearray(desk.device.certificate.octets), 0 if suite is Suite.ONE else 37
    octets[at : at + suite.point_octets] = b"\x02" + b"\0" * (suite.point_octets - 1)
    desk.initiate(bytes(octets))
    refused(desk.compute(desk.send_ephemeral()), TerminateStatus.INVALID_CERTIFICATE)


def test_a_certificate_of_a_false_authority_is_found_out_by_its_mac():
    """An implicit certificate looks right whoever made it; only its private key does not fit."""
    desk = Desk(credentials=issue(Suite.TWO, DEVICE, authority=BIG + 1))
    desk.initiate()
    agreement = desk.agreed(desk.compute(desk.send_ephemeral()))
    refused(desk.receive(ConfirmKeyData(agreement.mac_u)), TerminateStatus.BAD_KEY_CONFIRM)


@pytest.mark.parametrize("suite", [0x0000, 0x0003, 0x0004, 0xFFFF])
def test_a_suite_that_is_none_or_several_is_refused(suite):
    desk = Desk()
    body = InitiateKeyEstablishment(suite, 5, 5, desk.device.certificate.octets)
    refused(desk.receive(body), TerminateStatus.UNSUPPORTED_SUITE)


def test_a_suite_without_a_certificate_of_the_hub_is_refused():
    desk = Desk(Suite.ONE)
    desk.responder.equip([desk.hub[Suite.TWO].certificate])
    effects = desk.initiate()
    assert said(effects) == [TerminateKeyEstablishment(TerminateStatus.UNSUPPORTED_SUITE, 0, 0x0002)]


# Ephemeral keys and MACs


@pytest.mark.parametrize("octets", [b"\0" * 37, b"\x02" + b"\0" * 36, b"\x02" + b"\xff" * 36, b"\x04" + b"\1" * 36])
def test_an_ephemeral_key_that_is_no_proper_point_is_refused(octets):
    desk = Desk(Suite.TWO)
    desk.initiate()
    refused(desk.compute(desk.send_ephemeral(octets)), TerminateStatus.BAD_MESSAGE)
    assert desk.responder.state(DEVICE) is None


@pytest.mark.parametrize("octets", [b"", b"\x02", b"\x02" + b"\0" * 21, b"\x02" + b"\0" * 37])
def test_an_ephemeral_key_of_the_wrong_length_costs_no_computation(octets):
    desk = Desk(Suite.TWO)
    desk.initiate()
    refused(desk.send_ephemeral(octets), TerminateStatus.BAD_MESSAGE)


def test_a_wrong_mac_is_refused_and_installs_nothing():
    desk = Desk.initiated()
    agreement = desk.agreed(desk.compute(desk.send_ephemeral()))
    wrong = bytes((agreement.mac_u[0] ^ 1,)) + agreement.mac_u[1:]
    effects = desk.receive(ConfirmKeyData(wrong))
    refused(effects, TerminateStatus.BAD_KEY_CONFIRM)
    assert not [effect for effect in effects if isinstance(effect, Install)]
    refused(desk.receive(ConfirmKeyData(agreement.mac_u)), TerminateStatus.BAD_MESSAGE)


def test_a_reflected_mac_is_refused():
    """MACV is not MACU: the sides are told apart."""
    desk = Desk.initiated()
    agreement = desk.agreed(desk.compute(desk.send_ephemeral()))
    refused(desk.receive(ConfirmKeyData(agreement.mac_v)), TerminateStatus.BAD_KEY_CONFIRM)


# Order


def test_replaying_a_recorded_exchange_brings_no_key():
    desk = Desk()
    _, agreement = desk.establish()
    desk.instant += 1
    assert isinstance(said(desk.initiate())[0], InitiateKeyEstablishment)
    desk.compute(desk.send_ephemeral())
    refused(desk.receive(ConfirmKeyData(agreement.mac_u)), TerminateStatus.BAD_KEY_CONFIRM)


def test_messages_without_an_exchange_are_refused():
    desk = Desk()
    refused(desk.send_ephemeral(), TerminateStatus.BAD_MESSAGE)
    refused(desk.receive(ConfirmKeyData(bytes(16))), TerminateStatus.BAD_MESSAGE)


def test_a_mac_before_the_ephemeral_key_ends_the_exchange():
    desk = Desk.initiated()
    refused(desk.receive(ConfirmKeyData(bytes(16))), TerminateStatus.BAD_MESSAGE)
    refused(desk.send_ephemeral(), TerminateStatus.BAD_MESSAGE)


def test_a_mac_while_computing_ends_the_exchange_and_the_result_is_dropped():
    desk = Desk.initiated()
    effects = desk.send_ephemeral()
    refused(desk.receive(ConfirmKeyData(bytes(16))), TerminateStatus.BAD_MESSAGE)
    assert desk.compute(effects) == ()


def test_another_ephemeral_key_in_the_same_exchange_ends_it():
    desk = Desk.initiated()
    desk.compute(desk.send_ephemeral())
    other = Ephemeral.from_scalar(Suite.TWO.curve, 5).public_key
    refused(desk.send_ephemeral(other), TerminateStatus.BAD_MESSAGE)


def test_a_repeated_ephemeral_key_is_answered_again_and_computed_once():
    desk = Desk.initiated()
    effects = desk.send_ephemeral()
    assert desk.send_ephemeral() == ()
    first = said(desk.compute(effects))
    assert said(desk.send_ephemeral()) == first


def test_a_repeated_mac_is_answered_again_and_installed_once():
    desk = Desk()
    install, agreement = desk.up_to_install()
    assert desk.receive(ConfirmKeyData(agreement.mac_u)) == ()
    desk.responder.installed(install.token, desk.now.instant, ok=True)
    again = desk.receive(ConfirmKeyData(agreement.mac_u))
    assert said(again) == [ConfirmKeyData(agreement.mac_v)]
    assert not [effect for effect in again if isinstance(effect, Install | Established)]
    refused(desk.receive(ConfirmKeyData(bytes(16))), TerminateStatus.BAD_MESSAGE)


def test_a_device_that_restarts_in_mid_exchange_begins_again():
    desk = Desk.initiated()
    stale = desk.send_ephemeral()
    assert isinstance(said(desk.initiate())[0], InitiateKeyEstablishment)
    assert desk.compute(stale) == ()
    assert isinstance(said(desk.compute(desk.send_ephemeral()))[0], EphemeralData)


def test_a_device_that_restarts_while_its_key_is_installed_gets_another():
    desk = Desk()
    install, _ = desk.up_to_install()
    desk.initiate()
    assert desk.responder.installed(install.token, desk.now.instant, ok=True) == ()
    agreement = desk.agreed(desk.compute(desk.send_ephemeral()))
    (second,) = desk.receive(ConfirmKeyData(agreement.mac_u))
    assert second.link_key != install.link_key


def test_malformed_octets_are_refused_and_leave_the_exchange_alone():
    desk = Desk.initiated()
    for number, payload in ((0x00, b"\1"), (0x02, bytes(15)), (0x02, bytes(17)), (0x03, b"")):
        octets = Frame(FrameType.CLUSTER, number, 9, payload).to_bytes()
        refused(desk.responder.receive(DEVICE, ENDPOINT, octets, desk.now), TerminateStatus.BAD_MESSAGE)
    assert desk.responder.receive(DEVICE, ENDPOINT, b"\1", desk.now) == ()
    assert isinstance(said(desk.compute(desk.send_ephemeral()))[0], EphemeralData)


# Terminate


def test_a_terminate_of_the_device_ends_its_exchange_and_is_not_answered():
    desk = Desk.initiated()
    assert desk.receive(TerminateKeyEstablishment(2, 30, 3)) == (
        Failed(DEVICE, "the device said BAD_KEY_CONFIRM, it wants 30 s"),
    )
    assert desk.receive(TerminateKeyEstablishment(99, 0, 3)) == ()


def test_a_terminate_of_a_third_party_ends_nothing():
    desk = Desk.initiated()
    assert desk.receive(TerminateKeyEstablishment(2, 30, 3), peer=OTHER) == ()
    assert desk.responder.state(DEVICE) is State.INITIATED


def test_a_device_that_refuses_the_confirmation_is_told_of():
    desk = Desk()
    desk.establish()
    (failed,) = desk.receive(TerminateKeyEstablishment(TerminateStatus.BAD_KEY_CONFIRM, 0, 3))
    assert failed.reason == "the device said BAD_KEY_CONFIRM"
    desk.establish()
    answer = Frame(FrameType.GLOBAL, 0x0B, 1, DefaultResponse(0x02, Status.FAILURE).to_bytes()).to_bytes()
    (failed,) = desk.responder.receive(DEVICE, ENDPOINT, answer, desk.now)
    assert failed.reason == "the device answered FAILURE (0x01)"
    assert desk.responder.state(DEVICE) is None


def test_a_confirmation_that_was_taken_ends_the_exchange():
    desk = Desk()
    desk.establish()
    answer = Frame(FrameType.GLOBAL, 0x0B, 1, DefaultResponse(0x02, Status.SUCCESS).to_bytes()).to_bytes()
    assert desk.responder.receive(DEVICE, ENDPOINT, answer, desk.now) == ()
    assert desk.responder.state(DEVICE) is None
    assert desk.responder.receive(DEVICE, ENDPOINT, answer, desk.now) == ()


# Bounds


def test_a_flood_of_devices_is_told_to_wait():
    desk = Desk(settings=KeyEstablishmentSettings(maximum_exchanges=3, busy_wait_s=7))
    devices = [Eui64(0x1000 + number) for number in range(5)]
    answers = [said(desk.initiate(issue(Suite.TWO, device).certificate.octets, peer=device))[0] for device in devices]
    assert [type(answer) for answer in answers[:3]] == 3 * [InitiateKeyEstablishment]
    assert answers[3:] == 2 * [TerminateKeyEstablishment(TerminateStatus.NO_RESOURCES, 7, 3)]
    restarted = said(desk.initiate(issue(Suite.TWO, devices[0]).certificate.octets, peer=devices[0]))
    assert isinstance(restarted[0], InitiateKeyEstablishment)
    desk.instant += 16  # ten, and the five that they advertised
    assert len(desk.responder.handle_deadline(desk.now.instant)) == 3
    assert isinstance(said(desk.initiate())[0], InitiateKeyEstablishment)


def test_an_established_device_takes_no_place():
    desk = Desk(settings=KeyEstablishmentSettings(maximum_exchanges=1))
    desk.establish()
    other = said(desk.initiate(issue(Suite.TWO, OTHER).certificate.octets, peer=OTHER))
    assert isinstance(other[0], InitiateKeyEstablishment)


def test_a_device_that_keeps_failing_is_told_to_wait_longer_and_longer():
    desk = Desk()
    waits = []
    for _ in range(5):
        desk.initiate()
        desk.compute(desk.send_ephemeral())
        desk.receive(ConfirmKeyData(bytes(16)))
        answer = said(desk.initiate())[0]
        if isinstance(answer, TerminateKeyEstablishment):
            assert answer.status == TerminateStatus.NO_RESOURCES
            waits.append(answer.wait_time_s)
            desk.instant += answer.wait_time_s
    assert waits == [10, 20, 40]


def test_success_clears_the_count_of_failures():
    desk = Desk()
    for _ in range(2):
        desk.initiate()
        desk.compute(desk.send_ephemeral())
        desk.receive(ConfirmKeyData(bytes(16)))
    desk.establish()
    for _ in range(2):
        assert isinstance(said(desk.initiate())[0], InitiateKeyEstablishment)
        desk.compute(desk.send_ephemeral())
        desk.receive(ConfirmKeyData(bytes(16)))


@pytest.mark.parametrize("step", range(4))
def test_every_step_times_out(step):
    desk = Desk.initiated()
    if step > 0:
        effects = desk.send_ephemeral()
    if step > 1:
        agreement = desk.agreed(desk.compute(effects))
    if step > 2:
        desk.receive(ConfirmKeyData(agreement.mac_u))
    deadline = desk.responder.deadline()
    assert deadline > desk.instant
    assert desk.responder.handle_deadline(Instant(deadline - 0.1)) == ()
    (failed,) = desk.responder.handle_deadline(deadline)
    assert failed == Failed(DEVICE, f"nothing came in time ({list(State)[step].value})")
    assert desk.responder.deadline() is None


def test_the_time_that_a_device_advertises_is_granted_up_to_a_limit():
    desk = Desk()
    desk.receive(InitiateKeyEstablishment(2, 30, 0, desk.device.certificate.octets))
    assert desk.responder.deadline() == desk.instant + 40
    desk.receive(InitiateKeyEstablishment(2, 255, 0, desk.device.certificate.octets))
    assert desk.responder.deadline() == desk.instant + 70


def test_a_finished_exchange_is_let_go_in_silence():
    desk = Desk()
    desk.establish()
    assert desk.responder.handle_deadline(desk.responder.deadline()) == ()
    assert desk.responder.state(DEVICE) is None


def test_a_forgotten_device_has_no_exchange():
    desk = Desk()
    install, _ = desk.up_to_install()
    desk.responder.forget(DEVICE)
    assert desk.responder.installed(install.token, desk.now.instant, ok=True) == ()
    assert desk.responder.deadline() is None


# Manners


def test_the_suites_can_be_read():
    desk = Desk()
    read = Frame(FrameType.GLOBAL, 0x00, 5, b"\0\0").to_bytes()
    (send,) = desk.responder.receive(DEVICE, ENDPOINT, read, desk.now)
    assert Frame.from_bytes(send.payload).payload == b"\0\0\0\x31\3\0"


@pytest.mark.parametrize(
    ("frame", "status"),
    [
        (Frame(FrameType.CLUSTER, 0x04, 1), Status.UNSUP_CLUSTER_COMMAND),
        (Frame(FrameType.CLUSTER, 0x00, 1, to_client=True), Status.UNSUP_CLUSTER_COMMAND),
        (Frame(FrameType.CLUSTER, 0x00, 1, manufacturer_code=7), Status.UNSUP_MANUF_CLUSTER_COMMAND),
    ],
)
def test_commands_that_are_not_ours_are_unsupported(frame, status):
    desk = Desk()
    (send,) = desk.responder.receive(DEVICE, ENDPOINT, frame.to_bytes(), desk.now)
    assert DefaultResponse.from_bytes(Frame.from_bytes(send.payload).payload).status == status


def test_no_key_is_in_a_repr():
    desk = Desk()
    install, agreement = desk.up_to_install()
    said_of = repr((install, vars(desk.responder), agreement))
    for secret in (agreement.link_key, agreement.mac_u, agreement.mac_v):
        assert repr(secret)[2:-1] not in said_of


def test_an_input_without_a_row_is_a_mistake():
    with pytest.raises(LookupError):
        next_state(TRANSITIONS, State.INITIATED, Input.CONFIRM)
    assert {state for state, row in TRANSITIONS.items() if not row} == ENDS == {State.ENDED}


def test_results_of_unknown_exchanges_are_dropped():
    desk = Desk()
    assert desk.responder.computed(Token(DEVICE, 1), ComputationFailure.EPHEMERAL, desk.now.instant) == ()
    assert desk.responder.installed(Token(DEVICE, 1), desk.now.instant, ok=True) == ()
