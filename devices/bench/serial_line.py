"""A serial line between the host and a dongle: octets take their time, in both directions at once.

A frame arrives when its last octet does. Neither end can do anything with a part of one, so nothing is told of it, and
a frame costs two events however long it is. What the dongle has to say is fetched from it when the line is free, as a
chip composes a frame when its UART has room: an acknowledgement that became due meanwhile is in it.

Not modelled: flow control (both ends take octets as fast as they come), and what a USB adapter or a hub adds.
"""

from functools import partial

from devices.bench.dongles import Cut
from devices.bench.runner import Dongle
from devices.time import EventQueue

BITS_PER_OCTET = 10  # a start bit, eight of data, a stop bit


class SerialLine:
    """A `Dongle` at the end of a line of `baudrate` bits a second. `cut` says where its frames end."""

    def __init__(self, dongle: Dongle, cut: Cut, queue: EventQueue, baudrate: int) -> None:
        self._dongle = dongle
        self._cut = cut
        self._queue = queue
        self._octet_s = BITS_PER_OCTET / baudrate
        self._begun = b""  # of a frame of the host that has not ended
        self._to_dongle_free_s = self._to_host_free_s = queue.now
        self._arrived = bytearray()
        self.deadline = dongle.deadline
        self.handle_deadline = dongle.handle_deadline

    def receive(self, octets: bytes) -> None:
        """The host wrote this now."""
        start_s = max(self._to_dongle_free_s, self._queue.now) - len(self._begun) * self._octet_s
        frames, self._begun = self._cut(self._begun + octets)
        length = 0
        for frame in frames:
            length += len(frame)
            self._queue.call_at(start_s + length * self._octet_s, partial(self._dongle.receive, frame))
        self._to_dongle_free_s = start_s + (length + len(self._begun)) * self._octet_s

    def data_to_send(self) -> bytes:
        """What has reached the host by now."""
        if self._queue.now >= self._to_host_free_s:
            self._fetch()
        arrived = bytes(self._arrived)
        self._arrived.clear()
        return arrived

    def _fetch(self) -> None:
        frames, rest = self._cut(self._dongle.data_to_send())
        at_s = self._queue.now
        for frame in (*frames, rest):
            if frame:
                at_s += len(frame) * self._octet_s
                self._queue.call_at(at_s, partial(self._arrived.extend, frame))
        self._to_host_free_s = at_s
