"""The GBCS messages that a device has for the world and that nobody has taken yet, oldest first, in flash.

A message is in flash before it is sent, in one record with whatever caused it, so a power cut neither loses a message
nor says one twice in different words. How messages travel is no business of this file.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from devices.nodes.journal import Journal, Key

if TYPE_CHECKING:
    from collections.abc import Mapping

_COUNTER = struct.Struct("<Q")  # our choice; GBCS counters have 64 bits
_LENGTH = struct.Struct("<H")  # our choice, before each message
LONGEST_BYTES = 1024  # our choice, of the journal's sector of 2048; older messages give way


class Outbox:
    def __init__(self, journal: Journal, first_counter: int | None) -> None:
        self._journal = journal
        self._first_counter = first_counter

    def waiting(self) -> bytes | None:
        """The message that is to be sent next."""
        messages = self._messages()
        return messages[0] if messages else None

    def add(self, *messages: bytes, also: Mapping[Key, bytes | None]) -> None:
        """Put messages in, and write `also` in the same record. Where there is no room the oldest give way.

        Raises ValueError for messages that are too long for an empty outbox, and then writes nothing.
        """
        if sum(map(len, messages)) > LONGEST_BYTES:
            raise ValueError(f"messages of {sum(map(len, messages))} bytes do not fit an outbox of {LONGEST_BYTES}")
        held = [*self._messages(), *messages]
        while sum(map(len, held)) > LONGEST_BYTES:
            held.pop(0)
        self._journal.put({Key.ALERTS: _packed(held), **also})

    def taken(self, message: bytes) -> None:
        """The hub has `message`."""
        messages = self._messages()
        if messages and messages[0] == message:
            self._journal.put({Key.ALERTS: _packed(messages[1:])})

    def take_counter(self, utc: float) -> int:
        """The next originator counter; it is in flash, so a power cut can cost one but never use it twice.

        The first of all is above those of an earlier flash of this device, of which the hub may still know.
        """
        record = self._journal.get(Key.COUNTER)
        if record is not None:
            counter = _COUNTER.unpack(record)[0] + 1
        else:
            counter = int(utc * 1000) if self._first_counter is None else self._first_counter
        self._journal.put({Key.COUNTER: _COUNTER.pack(counter)})
        return int(counter)

    def _messages(self) -> list[bytes]:
        record = self._journal.get(Key.ALERTS) or b""
        messages, at = [], 0
        while at < len(record):
            (length,) = _LENGTH.unpack_from(record, at)
            at += _LENGTH.size
            messages.append(record[at : at + length])
            at += length
        return messages


def _packed(messages: list[bytes]) -> bytes:
    return b"".join(_LENGTH.pack(len(message)) + message for message in messages)
