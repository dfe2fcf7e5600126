"""The initiator of certificate-based key establishment (SE 1.4 annex C): how a device gets its link key from the hub.

Strict: a responder whose certificate is not the trust centre's, is another issuer's or has expired is turned away, and
the new key is taken only once MACV proves that the hub holds it too. Whatever goes wrong, the device waits and starts
again; the key that it had stays until then. It computes at once, where a real device takes seconds.
"""

from __future__ import annotations

from enum import Enum
from hmac import compare_digest
from typing import TYPE_CHECKING

from chf.crypto.ecmqv import Agreement, Ephemeral, agree
from chf.crypto.ecqv import Certificate, CertificateError, Suite
from chf.errors import MalformedError
from devices.nodes import events
from devices.nodes.cluster import Cluster, Discover, Effects, Send, TakeLinkKey, is_unicast
from devices.stack.interface import COORDINATOR
from devices.wire import key_establishment as wire
from devices.wire import zcl
from devices.wire.key_establishment import Command, Initiate, Terminate, TerminateStatus
from devices.wire.zcl import Status, ZclFrame

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from chf.crypto.ecqv import Credentials
    from devices.stack.interface import ApsIndication, Eui64

EPHEMERAL_S = 10  # advertised, as a deployed stack does (HG)
CONFIRM_S = 15  # advertised, likewise (HG)
STEP_S = 10.0  # our choice, and the partner's advertised time on top
BACK_OFF_S = 10.0  # our choice
REST_S = 60.0  # our choice, where nobody serves the cluster
_RANDOM_BITS = 400  # more than the order of sect283k1 has, so that no scalar is likelier than another


class State(Enum):
    IDLE = "idle"
    FINDING = "looking for the server"
    INITIATING = "sent its certificate"
    EXCHANGING = "sent its ephemeral key"
    CONFIRMING = "sent its MAC"
    WAITING = "will start again"
    ESTABLISHED = "has the key"


class KeyEstablishmentClient(Cluster):
    """Client of Key Establishment.

    `utc` tells the time in seconds since 1970 where the device knows it: a certificate's dates are judged then.
    """

    from_server = True
    deadline: float | None = None

    def __init__(
        self,
        credentials: Credentials,
        random: Random,
        next_sequence: Callable[[], int],
        utc: Callable[[], float | None] = lambda: None,
    ) -> None:
        self.state = State.IDLE
        self._own = credentials
        self._random = random
        self._next_sequence = next_sequence
        self._utc = utc
        self._endpoint = 0
        self._ephemeral: Ephemeral | None = None
        self._responder: Initiate | None = None
        self._certificate: Certificate | None = None
        self._agreement: Agreement | None = None

    @property
    def suite(self) -> Suite:
        return self._own.suite

    @property
    def expects_answer(self) -> bool:
        return self.state not in {State.IDLE, State.WAITING, State.ESTABLISHED}

    def attributes(self) -> tuple[zcl.Attribute, ...]:
        return (zcl.Attribute(wire.SUITE_ATTRIBUTE, zcl.DataType.ENUM16, self.suite.value),)

    def start(self, now: float) -> Effects:
        """Joined, without a key of its own."""
        self._forget()
        self._become(State.FINDING, now + STEP_S)
        return [Discover()]

    def stop(self) -> None:
        self._forget()
        self._become(State.IDLE, None)

    def found(self, endpoint: int | None, now: float) -> Effects:
        if self.state is not State.FINDING:
            return []
        if endpoint is None:
            return self._fail("nobody serves key establishment", now, REST_S)
        self._endpoint = endpoint
        curve = self._own.suite.curve
        self._ephemeral = Ephemeral.from_scalar(curve, self._random.getrandbits(_RANDOM_BITS) % (curve.order - 1) + 1)
        self._become(State.INITIATING, now + STEP_S)
        initiate = Initiate(self.suite.value, EPHEMERAL_S, CONFIRM_S, self._own.certificate.octets)
        return [self._send(Command.INITIATE, initiate.to_bytes())]

    def receive(self, frame: ZclFrame, indication: ApsIndication, now: float) -> tuple[int | None, Effects]:
        # Never under a link key (SE 1.4 C.3); and a broadcast of it means nothing.
        if indication.source != COORDINATOR or indication.secured or not is_unicast(indication):
            return Status.NOT_AUTHORIZED, []
        match frame.command:
            case Command.INITIATE:
                return self._initiated(Initiate.from_bytes(frame.payload), indication.source_ieee, now)
            case Command.EPHEMERAL_DATA:
                return self._exchanged(frame.payload, now)
            case Command.CONFIRM_KEY_DATA:
                return self._confirmed(frame.payload, now)
            case Command.TERMINATE:
                terminate = Terminate.from_bytes(frame.payload)
                if self.state not in {State.INITIATING, State.EXCHANGING, State.CONFIRMING}:
                    return Status.SUCCESS, []
                wait = max(BACK_OFF_S, float(terminate.wait_s))
                return Status.SUCCESS, self._fail("the hub refused", now, wait, terminate.status, by_hub=True)
            case _:
                return Status.UNSUP_CLUSTER_COMMAND, []

    def receive_default_response(self, sequence: int, response: zcl.DefaultResponse, now: float) -> Effects:
        """The server answers its own commands with commands; a Default Response says that it does not."""
        waits_for = {
            State.INITIATING: Command.INITIATE,
            State.EXCHANGING: Command.EPHEMERAL_DATA,
            State.CONFIRMING: Command.CONFIRM_KEY_DATA,
        }
        del sequence
        if response.status == Status.SUCCESS or waits_for.get(self.state) != response.command:
            return []
        return self._fail(f"the hub answered with status 0x{response.status:02X}", now, REST_S)

    def handle_deadline(self, now: float) -> Effects:
        if self.deadline is None or now < self.deadline:
            return []
        if self.state is State.WAITING:
            return self.start(now)
        return self._fail(f"no answer ({self.state.value})", now, BACK_OFF_S)

    # The steps

    def _initiated(self, answer: Initiate, trust_centre: Eui64 | None, now: float) -> tuple[int | None, Effects]:
        if self.state is not State.INITIATING or self._ephemeral is None:
            return self._out_of_order(now)
        if answer.suite != self.suite.value:
            return None, self._refuse("another suite", TerminateStatus.UNSUPPORTED_SUITE, now)
        if len(answer.certificate) != self.suite.certificate_octets:
            return None, self._refuse("a certificate of another length", TerminateStatus.BAD_MESSAGE, now)
        try:
            certificate = Certificate.from_bytes(self.suite, answer.certificate)
        except CertificateError as error:
            return None, self._refuse(str(error), TerminateStatus.INVALID_CERTIFICATE, now)
        if certificate.issuer != self._own.certificate.issuer:
            return None, self._refuse("another issuer", TerminateStatus.UNKNOWN_ISSUER, now)
        if certificate.subject != trust_centre:
            return None, self._refuse("not the trust centre's certificate", TerminateStatus.BAD_MESSAGE, now)
        utc = self._utc()
        if utc is not None and not certificate.is_valid_at(utc):
            return None, self._refuse("outside its time", TerminateStatus.INVALID_CERTIFICATE, now)
        self._responder, self._certificate = answer, certificate
        self._become(State.EXCHANGING, now + STEP_S + answer.ephemeral_s)
        return Status.SUCCESS, [self._send(Command.EPHEMERAL_DATA, self._ephemeral.public_key)]

    def _exchanged(self, octets: bytes, now: float) -> tuple[int | None, Effects]:
        if self.state is not State.EXCHANGING or not (self._ephemeral and self._responder and self._certificate):
            return self._out_of_order(now)
        try:
            self._agreement = agree(self._own, self._ephemeral, self._certificate, octets, initiator=True)
        except CertificateError as error:
            return None, self._refuse(str(error), TerminateStatus.INVALID_CERTIFICATE, now)
        except MalformedError as error:
            return None, self._refuse(str(error), TerminateStatus.BAD_MESSAGE, now)
        self._become(State.CONFIRMING, now + STEP_S + self._responder.confirm_s)
        return Status.SUCCESS, [self._send(Command.CONFIRM_KEY_DATA, self._agreement.mac_u)]

    def _confirmed(self, mac: bytes, now: float) -> tuple[int | None, Effects]:
        if self.state is not State.CONFIRMING or self._agreement is None:
            if self.state is State.ESTABLISHED:
                return Status.SUCCESS, []  # said again
            return self._out_of_order(now)
        if len(mac) != wire.MAC_BYTES:
            return None, self._refuse("a MAC of another length", TerminateStatus.BAD_MESSAGE, now)
        if not compare_digest(mac, self._agreement.mac_v):
            return None, self._refuse("a wrong MAC", TerminateStatus.BAD_KEY_CONFIRM, now)
        key = self._agreement.link_key
        self._forget()
        self._become(State.ESTABLISHED, None)
        return Status.SUCCESS, [events.KeyEstablished(self.suite.value), TakeLinkKey(key)]

    # How it ends

    def _out_of_order(self, now: float) -> tuple[int | None, Effects]:
        if self.state in {State.INITIATING, State.EXCHANGING, State.CONFIRMING}:
            return None, self._refuse("a message at the wrong time", TerminateStatus.BAD_MESSAGE, now)
        terminate = Terminate(TerminateStatus.BAD_MESSAGE, 0, self.suite.value)
        return None, [self._send(Command.TERMINATE, terminate.to_bytes())]

    def _refuse(self, reason: str, status: TerminateStatus, now: float) -> Effects:
        terminate = Terminate(status, int(BACK_OFF_S), self.suite.value)
        return [self._send(Command.TERMINATE, terminate.to_bytes()), *self._fail(reason, now, BACK_OFF_S, status)]

    def _fail(self, reason: str, now: float, wait_s: float, status: int = 0, *, by_hub: bool = False) -> Effects:
        self._forget()
        self._become(State.WAITING, now + wait_s)
        return [events.KeyEstablishmentFailed(reason, status, by_hub)]

    def _forget(self) -> None:
        self._ephemeral = self._responder = self._certificate = self._agreement = None

    def _become(self, state: State, deadline: float | None) -> None:
        self.state, self.deadline = state, deadline

    def _send(self, command: Command, payload: bytes) -> Send:
        frame = ZclFrame(self._next_sequence(), command, payload, disable_default_response=True)
        return Send(frame, self._endpoint, secured=False)
