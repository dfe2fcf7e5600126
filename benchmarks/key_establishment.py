"""What a key agreement costs: one side of an exchange, for both suites, beside OpenSSL's scalar multiplication.

    python benchmarks/key_establishment.py [--rounds 20] [--json]

Both are measured in the same run, in turns, and medians are printed, so that a busy machine is busy for both. OpenSSL
does one scalar multiplication in C; a side does about three and a half, a certificate's hash and two MACs, in Python.
"""

import argparse
import contextlib
import ctypes
import ctypes.util
import json
import statistics
import time

from chf.crypto.ecmqv import Ephemeral, agree
from chf.crypto.ecqv import CertificateAuthority, Suite

HUB, DEVICE, ISSUER = 0xDB_0001, 0xDB_0002, 0xDB_00CA
BIG = (1 << 400) + 12345
LIMIT_MS = {Suite.ONE: 30.0, Suite.TWO: 75.0}
"""Of one side, on a machine of two cores: what the issue promises."""


class OpenSslMultiplication:
    """k * P by libcrypto, with everything made ready beforehand. Raises OSError where there is none that can."""

    def __init__(self, name: str, scalar: int, point: bytes) -> None:
        path = ctypes.util.find_library("crypto")
        if path is None:
            raise OSError("no libcrypto")
        self._library = library = ctypes.CDLL(path)
        pointer = ctypes.c_void_p
        for function in ("EC_GROUP_new_by_curve_name", "EC_POINT_new", "BN_bin2bn", "BN_CTX_new"):
            getattr(library, function).restype = pointer
        number = library.OBJ_txt2nid(name.encode())
        self._group = pointer(library.EC_GROUP_new_by_curve_name(number))
        if not self._group:
            raise OSError(f"libcrypto has no {name}")
        octets = scalar.to_bytes((scalar.bit_length() + 7) // 8, "big")
        self._scalar = pointer(library.BN_bin2bn(octets, len(octets), None))
        self._context = pointer(library.BN_CTX_new())
        self._point, self._product = (pointer(library.EC_POINT_new(self._group)) for _ in range(2))
        taken = library.EC_POINT_oct2point(self._group, self._point, point, ctypes.c_size_t(len(point)), self._context)
        if taken != 1:
            raise OSError(f"libcrypto does not take a point of {name}")

    def __call__(self) -> None:
        self._library.EC_POINT_mul(self._group, self._product, None, self._point, self._scalar, self._context)


def once_ms(work) -> float:
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1e3


def measure(suite: Suite, rounds: int) -> dict[str, object]:
    curve = suite.curve
    authority = CertificateAuthority.generate(suite, ISSUER, BIG)
    hub, device = (authority.issue(subject, BIG + subject, BIG * 3) for subject in (HUB, DEVICE))
    theirs = Ephemeral.from_scalar(curve, BIG * 5)

    def side() -> None:
        ours = Ephemeral.from_scalar(curve, BIG * 7)
        agree(hub, ours, device.certificate, theirs.public_key, initiator=False)

    point = curve.decompress(theirs.public_key)
    works = {"side": side, "multiplication": lambda: curve.multiply(BIG % curve.order, point)}
    with contextlib.suppress(OSError, AttributeError):
        works["openssl"] = OpenSslMultiplication(curve.name, BIG % curve.order, theirs.public_key)
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            times[name].append(once_ms(work))
    medians = {f"{name}_ms": round(statistics.median(taken), 3) for name, taken in times.items()}
    return {"suite": suite.value, "curve": curve.name, **medians, "limit_ms": LIMIT_MS[suite]}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    results = [measure(suite, arguments.rounds) for suite in Suite]
    if arguments.json:
        print(json.dumps(results))
        return
    print(f"{'suite':>5} {'curve':>10} {'one side':>10} {'limit':>8} {'k * P':>9} {'OpenSSL':>9} {'ratio':>6}")
    for result in results:
        openssl = result.get("openssl_ms")
        ratio = f"{result['multiplication_ms'] / openssl:.0f}" if openssl else "-"
        columns = f"{result['side_ms']:>7} ms {result['limit_ms']:>5} ms {result['multiplication_ms']:>6} ms"
        print(f"{result['suite']:>5} {result['curve']:>10} {columns} {openssl or '-':>6} ms {ratio:>6}")


if __name__ == "__main__":
    main()
