"""`python -m devices` whose devices agree on keys in a process beside it, for benchmarks of the hub.

Real devices have processors of their own. The emulated ones share the virtual dongle's, where the tens of milliseconds
of each device's own arithmetic would be taken for a hub that does not answer. The process beside runs where nobody else
wants a processor (a niceness of 19 still had it take 4 ms now and then), and has the curves' arithmetic from OpenSSL
where there is one, since it shares the machine's processors, too. The ephemeral keys are drawn before the world begins.
"""

import contextlib
import os
import secrets
from concurrent.futures import Future, ProcessPoolExecutor

import timed_devices
from openssl_curves import OpenSslCurve

from chf.crypto import ecmqv
from chf.crypto.binary_curve import SECT163K1, SECT283K1, BinaryCurve, Point
from chf.crypto.ecmqv import Ephemeral
from devices.nodes import key_establishment
from devices.nodes.key_establishment import KeyEstablishmentClient
from devices.wire.zcl import Status

EXCHANGES = 64
LOOK_S = 0.001


def use_openssl() -> None:
    """Raises OSError where libcrypto cannot."""
    octets = {curve.name: curve.field.octets for curve in (SECT163K1, SECT283K1)}
    fast = {name: OpenSslCurve(name, size) for name, size in octets.items()}

    def multiply(self: BinaryCurve, scalar: int, point: Point | None) -> Point | None:
        if point is None or scalar == 0:
            return None
        field, size, openssl = self.field, octets[self.name], fast[self.name]
        openssl.take(
            scalar, b"\4" + b"".join(field.pack(number).to_bytes(size, "big") for number in (point.x, point.y))
        )
        openssl.multiply()
        product = openssl.product()
        if len(product) == 1:
            return None
        x, y = product[1 : 1 + size], product[1 + size :]
        return Point(*(field.spread(int.from_bytes(number, "big")) for number in (x, y)))

    BinaryCurve.multiply = multiply


def compute_beside(pool: ProcessPoolExecutor) -> None:
    """What the initiator computes when it has the hub's ephemeral key: it looks now and then whether that is done."""
    computing: dict[KeyEstablishmentClient, tuple[bytes, Future]] = {}
    exchanged, deadline_reached = KeyEstablishmentClient._exchanged, KeyEstablishmentClient.handle_deadline

    def exchanged_later(self: KeyEstablishmentClient, octets: bytes, now: float):
        if self.state is not key_establishment.State.EXCHANGING:
            return exchanged(self, octets, now)
        computed = pool.submit(ecmqv.agree, self._own, self._ephemeral, self._certificate, octets, initiator=True)
        computing[self] = octets, computed
        self.deadline = now + LOOK_S
        return Status.SUCCESS, []

    def look(self: KeyEstablishmentClient, now: float):
        if self not in computing:
            return deadline_reached(self, now)
        octets, computed = computing[self]
        if not computed.done():
            self.deadline = now + LOOK_S
            return []
        del computing[self]
        key_establishment.agree = lambda *_arguments, **_options: computed.result()
        return exchanged(self, octets, now)[1]

    KeyEstablishmentClient._exchanged, KeyEstablishmentClient.handle_deadline = exchanged_later, look


def draw_ephemeral_keys() -> None:
    """For as many exchanges as a run may have; after that the devices draw their own."""
    drawn = {
        curve.name: [Ephemeral.from_scalar(curve, 1 + secrets.randbelow(curve.order - 1)) for _ in range(EXCHANGES)]
        for curve in (SECT163K1, SECT283K1)
    }

    class Drawn:
        @staticmethod
        def from_scalar(curve: BinaryCurve, private_key: int) -> Ephemeral:
            stock = drawn[curve.name]
            return stock.pop() if stock else Ephemeral.from_scalar(curve, private_key)

    key_establishment.Ephemeral = Drawn


def _use_openssl_if_there() -> None:
    with contextlib.suppress(OSError, AttributeError):
        use_openssl()


def _start_beside() -> None:
    try:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    except (AttributeError, OSError):  # a class that only Linux has
        os.nice(19)
    _use_openssl_if_there()


if __name__ == "__main__":
    with ProcessPoolExecutor(1, initializer=_start_beside) as workers:
        workers.submit(os.getpid).result()  # it is there before the world is
        compute_beside(workers)
        _use_openssl_if_there()
        draw_ephemeral_keys()
        timed_devices.run("python benchmarks/quick_devices.py")
