"""The process that computes key agreements for the hub: `python -m chf.key_worker`, one JSON line in, one out.

It computes when nobody else wants a processor, where the system has such a class (SCHED_IDLE), so that hub and dongle
do not share one because of it. On a machine that is always busy that would be never: with `--pressing` it takes its
share.

A process, not a thread: the arithmetic holds the interpreter's lock for tens of milliseconds at a time, and image
blocks wait behind that. Not multiprocessing: it must end with the hub however the hub ends, and the end of standard
input says so. Private keys come and link keys go through the two pipes and nowhere else; nothing is logged.
"""

import json
import os
import secrets
import signal
import sys

from chf.crypto.credentials_text import parse_credentials
from chf.crypto.ecmqv import Ephemeral, agree
from chf.crypto.ecqv import Certificate, CertificateError, Credentials
from chf.errors import MalformedError

PRESSING = "--pressing"
_NICENESS = 5  # the radio goes first


def answer(line: bytes, known: dict[str, Credentials]) -> dict[str, str]:
    """One agreement as the responder; `known` keeps credentials that were checked before, by their text."""
    question = json.loads(line)
    text = question["credentials"]
    own = known.get(text) or known.setdefault(text, parse_credentials(text))
    curve = own.suite.curve
    try:
        peer = Certificate.from_bytes(own.suite, bytes.fromhex(question["certificate"]))
        ephemeral = Ephemeral.from_scalar(curve, 1 + secrets.randbelow(curve.order - 1))
        agreement = agree(own, ephemeral, peer, bytes.fromhex(question["ephemeral"]), initiator=False)
    except CertificateError:
        return {"failure": "CERTIFICATE"}
    except MalformedError:
        return {"failure": "EPHEMERAL"}
    return {
        "ephemeral": ephemeral.public_key.hex(),
        "mac_u": agreement.mac_u.hex(),
        "mac_v": agreement.mac_v.hex(),
        "link_key": agreement.link_key.hex(),
    }


def go_last() -> bool:
    """Run this process only when nobody else wants a processor; False where the system has no such class."""
    try:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    except (AttributeError, OSError):
        return False
    return True


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C at the terminal is the hub's to handle
    if PRESSING in sys.argv or not go_last():
        os.nice(_NICENESS)
    known: dict[str, Credentials] = {}
    for line in sys.stdin.buffer:
        sys.stdout.write(json.dumps(answer(line, known)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
