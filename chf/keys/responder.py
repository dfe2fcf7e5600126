"""The responder of certificate-based key establishment: the hub's side (SE1.4 C.3 and C.4).

Sans-IO: frames, results and time in, effects out. It holds no private key and computes nothing; it does not know which
devices are in the device log. Nothing of it survives a restart of the hub, on purpose: a device whose exchange is cut
off learns it at its next message, and starts again.
"""

from collections.abc import Iterable
from hmac import compare_digest
from math import ceil
from typing import assert_never

from chf.clock import Instant, Now
from chf.crypto.ecqv import Certificate, CertificateError, Suite
from chf.errors import MalformedFrameError
from chf.eui64 import Eui64
from chf.keys.effects import ComputationFailure, Compute, Computed, Effects, Established, Failed, Install, Send, Token
from chf.keys.session import Exchange, KeyEstablishmentSettings, Record
from chf.keys.transitions import TRANSITIONS, Input, State
from chf.machine import next_state
from chf.zcl import attributes
from chf.zcl.frame import DefaultResponse, Frame, FrameType, Status, status_name
from chf.zcl.key_establishment import (
    ConfirmKeyData,
    EphemeralData,
    InitiateKeyEstablishment,
    KeyEstablishmentCommand,
    TerminateKeyEstablishment,
    TerminateStatus,
    command,
    parse,
)
from chf.zcl.key_establishment import attributes as cluster_attributes

_FAILURES = {
    ComputationFailure.CERTIFICATE: TerminateStatus.INVALID_CERTIFICATE,
    ComputationFailure.EPHEMERAL: TerminateStatus.BAD_MESSAGE,
}


class Responder:
    """Time comes in as `now`; everything to be done comes out as effects, in their order."""

    def __init__(self, settings: KeyEstablishmentSettings | None = None) -> None:
        self._settings = settings or KeyEstablishmentSettings()
        self._own: dict[Suite, Certificate] = {}
        self._exchanges: dict[Eui64, Exchange] = {}
        self._records: dict[Eui64, Record] = {}
        self._number = 0

    def equip(self, certificates: Iterable[Certificate]) -> None:
        """The hub's own certificates, one of each suite that it is to support."""
        self._own = {certificate.suite: certificate for certificate in certificates}

    @property
    def suites(self) -> int:
        """As KeyEstablishmentSuite has them, one bit each."""
        return sum(suite.value for suite in self._own)

    def state(self, peer: Eui64) -> State | None:
        """None for a device that has no exchange."""
        exchange = self._exchanges.get(peer)
        return exchange.state if exchange else None

    # From the caller

    def receive(self, peer: Eui64, endpoint: int, octets: bytes, now: Now) -> Effects:
        """One unicast ZCL frame of cluster 0x0800, without APS security. Never raises."""
        try:
            frame = Frame.from_bytes(octets)
        except MalformedFrameError:
            return ()
        if frame.frame_type is FrameType.GLOBAL:
            return self._global(peer, endpoint, frame)
        if frame.to_client or frame.manufacturer_code is not None:
            return _answer(peer, endpoint, frame.unsupported())
        try:
            body = parse(frame)
        except MalformedFrameError as error:
            # The exchange goes on: a device, or somebody in its name, sent octets that mean nothing (Ember-KE).
            return self._refuse(peer, endpoint, frame, TerminateStatus.BAD_MESSAGE, str(error))
        if body is None:
            return _answer(peer, endpoint, frame.unsupported())
        return self._command(peer, endpoint, frame, body, now)

    def computed(self, token: Token, result: Computed | ComputationFailure, now: Instant) -> Effects:
        exchange = self._current(token, State.COMPUTING)
        if exchange is None:
            return ()
        if isinstance(result, ComputationFailure):
            return self._end(exchange, Input.FAIL, result.value, _FAILURES[result])
        exchange.computed = result
        self._become(exchange, Input.COMPUTED, self._due(exchange.confirm_time_s, now))
        return (self._say(exchange, EphemeralData(result.ephemeral)),)

    def installed(self, token: Token, now: Instant, *, ok: bool) -> Effects:
        """Whether store and dongle have the key of `Install`."""
        exchange = self._current(token, State.INSTALLING)
        if exchange is None:
            return ()
        if not ok:
            reason = "the key could not be installed"
            return self._end(exchange, Input.FAIL, reason, TerminateStatus.NO_RESOURCES)
        self._records.pop(token.peer, None)
        self._become(exchange, Input.INSTALLED, Instant(now + self._settings.step_timeout_s))
        return (*self._confirmation(exchange), Established(token.peer, exchange.certificate.suite))

    def forget(self, peer: Eui64) -> None:
        """The device was removed from the device log."""
        self._records.pop(peer, None)
        exchange = self._exchanges.pop(peer, None)
        if exchange is not None:
            exchange.state = next_state(TRANSITIONS, exchange.state, Input.FORGET)

    def deadline(self) -> Instant | None:
        return min((exchange.deadline for exchange in self._exchanges.values()), default=None)

    def handle_deadline(self, now: Instant) -> Effects:
        effects: Effects = ()
        for exchange in [exchange for exchange in self._exchanges.values() if exchange.deadline <= now]:
            finished = exchange.state is State.ESTABLISHED
            ended = self._end(exchange, Input.TIME_OUT, f"nothing came in time ({exchange.state.value})")
            effects += () if finished else ended
        return effects

    # Commands

    def _command(self, peer: Eui64, endpoint: int, frame: Frame, body: KeyEstablishmentCommand, now: Now) -> Effects:
        if isinstance(body, InitiateKeyEstablishment):
            return self._initiate(peer, endpoint, frame, body, now)
        exchange = self._exchanges.get(peer)
        if isinstance(body, TerminateKeyEstablishment):
            if exchange is None:
                return ()  # a Terminate is never answered
            wait = f", it wants {body.wait_time_s} s" if body.wait_time_s else ""
            return self._end(exchange, Input.TERMINATE, f"the device said {body.status_name}{wait}")
        if exchange is None:
            reason = f"{type(body).__name__} without an exchange"
            return self._refuse(peer, endpoint, frame, TerminateStatus.BAD_MESSAGE, reason)
        exchange.sequence = frame.sequence
        match body:
            case EphemeralData(public_key):
                return self._ephemeral(exchange, public_key, now.instant)
            case ConfirmKeyData(mac):
                return self._confirm(exchange, mac)
            case _:
                assert_never(body)

    def _initiate(self, peer: Eui64, endpoint: int, frame: Frame, body: InitiateKeyEstablishment, now: Now) -> Effects:
        own = next((own for suite, own in self._own.items() if suite.value == body.suite), None)
        if own is None:
            reason = f"suite 0x{body.suite:04X} is not supported"
            return self._refuse(peer, endpoint, frame, TerminateStatus.UNSUPPORTED_SUITE, reason)
        certificate = _read_certificate(own, body.certificate, peer, now)
        if not isinstance(certificate, Certificate):
            return self._refuse(peer, endpoint, frame, *certificate)
        record = self._records.get(peer)
        if record is not None and record.not_before is not None and now.instant < record.not_before:
            return self._busy(peer, endpoint, frame, ceil(record.not_before - now.instant), "it tries too often")
        others = sum(
            exchange.state is not State.ESTABLISHED for key, exchange in self._exchanges.items() if key != peer
        )
        if others >= self._settings.maximum_exchanges:
            reason = f"{others} exchanges are under way"
            return self._busy(peer, endpoint, frame, self._settings.busy_wait_s, reason)
        earlier = self._exchanges.get(peer)
        if earlier is not None:
            earlier.state = next_state(TRANSITIONS, earlier.state, Input.INITIATE)
        self._number += 1
        exchange = self._exchanges[peer] = Exchange(
            Token(peer, self._number),
            endpoint,
            certificate,
            body.ephemeral_time_s,
            body.confirm_time_s,
            self._due(body.ephemeral_time_s, now.instant),
            sequence=frame.sequence,
        )
        settings = self._settings
        answer = InitiateKeyEstablishment(body.suite, settings.ephemeral_time_s, settings.confirm_time_s, own.octets)
        return (self._say(exchange, answer),)

    def _ephemeral(self, exchange: Exchange, public_key: bytes, now: Instant) -> Effects:
        if exchange.state is State.INITIATED:
            if len(public_key) != exchange.certificate.suite.point_octets:
                reason = f"an ephemeral key of {len(public_key)} octets"
                return self._end(exchange, Input.FAIL, reason, TerminateStatus.BAD_MESSAGE)
            exchange.ephemeral = public_key
            self._count_attempt(exchange.token.peer, now)
            self._become(exchange, Input.EPHEMERAL, self._due(self._settings.ephemeral_time_s, now))
            return (Compute(exchange.token, exchange.certificate, public_key),)
        if public_key == exchange.ephemeral and exchange.state is State.COMPUTING:
            return ()  # asked again; the answer is on its way
        if public_key == exchange.ephemeral and exchange.state is State.EXCHANGED and exchange.computed is not None:
            return (self._say(exchange, EphemeralData(exchange.computed.ephemeral)),)
        return self._misplaced(exchange, "an ephemeral key")

    def _confirm(self, exchange: Exchange, mac: bytes) -> Effects:
        ours = exchange.computed
        if ours is None or exchange.state not in {State.EXCHANGED, State.INSTALLING, State.ESTABLISHED}:
            return self._misplaced(exchange, "a MAC")
        if not compare_digest(mac, ours.mac_u):
            if exchange.state is State.EXCHANGED:
                reason = "the device's MAC is wrong: it has not the private key of its certificate, or another CA"
                return self._end(exchange, Input.FAIL, reason, TerminateStatus.BAD_KEY_CONFIRM)
            return self._misplaced(exchange, "another MAC")
        if exchange.state is State.INSTALLING:
            return ()
        if exchange.state is State.ESTABLISHED:
            return self._confirmation(exchange)
        self._become(exchange, Input.CONFIRM, exchange.deadline)
        return (Install(exchange.token, exchange.certificate.suite, ours.link_key),)

    def _confirmation(self, exchange: Exchange) -> Effects:
        assert exchange.computed is not None
        return (self._say(exchange, ConfirmKeyData(exchange.computed.mac_v), answered=True),)

    def _global(self, peer: Eui64, endpoint: int, frame: Frame) -> Effects:
        if frame.command != DefaultResponse.COMMAND:
            return _answer(peer, endpoint, attributes.answer_read(cluster_attributes(self.suites), frame.to_bytes()))
        exchange = self._exchanges.get(peer)
        try:
            response = DefaultResponse.from_bytes(frame.payload)
        except MalformedFrameError:
            return ()
        if exchange is None:
            return ()
        if response.status != Status.SUCCESS:
            return self._end(exchange, Input.TERMINATE, f"the device answered {status_name(response.status)}")
        if exchange.state is State.ESTABLISHED:
            self._end(exchange, Input.TAKEN, "")  # nothing is left to repeat
        return ()

    # Refusing and ending

    def _misplaced(self, exchange: Exchange, what: str) -> Effects:
        reason = f"{what} at the wrong time ({exchange.state.value})"
        return self._end(exchange, Input.MISPLACED, reason, TerminateStatus.BAD_MESSAGE)

    def _end(self, exchange: Exchange, given: Input, reason: str, status: TerminateStatus | None = None) -> Effects:
        exchange.state = next_state(TRANSITIONS, exchange.state, given)
        peer = exchange.token.peer
        del self._exchanges[peer]
        failed = Failed(peer, reason, status)
        if status is None:
            return (failed,)
        wait_s = self._settings.busy_wait_s if status is TerminateStatus.NO_RESOURCES else 0
        return (self._say(exchange, TerminateKeyEstablishment(status, wait_s, self.suites)), failed)

    def _refuse(
        self, peer: Eui64, endpoint: int, frame: Frame, status: TerminateStatus, reason: str, wait_s: int = 0
    ) -> Effects:
        """Without touching an exchange that is under way."""
        answer = TerminateKeyEstablishment(status, wait_s, self.suites)
        return (Send(peer, endpoint, command(answer, frame.sequence, to_client=True)), Failed(peer, reason, status))

    def _busy(self, peer: Eui64, endpoint: int, frame: Frame, wait_s: int, reason: str) -> Effects:
        return self._refuse(peer, endpoint, frame, TerminateStatus.NO_RESOURCES, reason, wait_s)

    # Keeping

    def _current(self, token: Token, state: State) -> Exchange | None:
        exchange = self._exchanges.get(token.peer)
        return exchange if exchange is not None and exchange.token == token and exchange.state is state else None

    def _count_attempt(self, peer: Eui64, now: Instant) -> None:
        record = self._records.setdefault(peer, Record())
        record.attempts += 1
        record.not_before = Instant(now + self._settings.back_off_s(record.attempts))

    def _due(self, partner_time_s: int, now: Instant) -> Instant:
        believed_s = min(partner_time_s, self._settings.longest_partner_time_s)
        return Instant(now + self._settings.step_timeout_s + believed_s)

    @staticmethod
    def _become(exchange: Exchange, given: Input, deadline: Instant) -> None:
        exchange.state = next_state(TRANSITIONS, exchange.state, given)
        exchange.deadline = deadline

    @staticmethod
    def _say(exchange: Exchange, body: KeyEstablishmentCommand, *, answered: bool = False) -> Send:
        payload = command(body, exchange.sequence, to_client=True, answered=answered)
        return Send(exchange.token.peer, exchange.endpoint, payload)


def _read_certificate(
    own: Certificate, octets: bytes, peer: Eui64, now: Now
) -> Certificate | tuple[TerminateStatus, str]:
    """The certificate, or why it is not accepted (Ember-KE)."""
    if len(octets) != own.suite.certificate_octets:
        return TerminateStatus.BAD_MESSAGE, f"a certificate of {len(octets)} octets"
    try:
        certificate = Certificate.from_bytes(own.suite, octets)
    except CertificateError as error:
        return TerminateStatus.INVALID_CERTIFICATE, str(error)
    if certificate.issuer != own.issuer:
        return TerminateStatus.UNKNOWN_ISSUER, f"the certificate was issued by {certificate.issuer:016X}"
    if certificate.subject != peer:
        return TerminateStatus.BAD_MESSAGE, f"the certificate is that of {certificate.subject:016X}"
    if not certificate.is_valid_at(now.utc):
        return TerminateStatus.INVALID_CERTIFICATE, "the certificate has expired, or is not valid yet"
    return certificate


def _answer(peer: Eui64, endpoint: int, payload: bytes | None) -> Effects:
    return () if payload is None else (Send(peer, endpoint, payload),)
