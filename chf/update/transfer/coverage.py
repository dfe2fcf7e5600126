"""Which bytes of an image a device was sent: the proof that its Upgrade End is about our download.

Sent, not received: the radio gives no better evidence, and the device checks the image itself.
"""

from typing import Final

_MAXIMUM_ISLANDS: Final = 64  # a device that asks all over the place may not fill our memory


class Coverage:
    """Ranges sent, merged. The first range counts as if all before it were sent too.

    A device resumes at the offset that it stored, perhaps under an earlier offer, or before this process began.
    """

    __slots__ = ("_islands", "_may_resume", "contiguous")

    def __init__(self, contiguous: int = 0) -> None:
        self.contiguous = contiguous
        self._islands: list[tuple[int, int]] = []
        self._may_resume = True

    def add(self, start: int, end: int) -> None:
        if self._may_resume:
            self._may_resume = False
            self.contiguous = max(self.contiguous, start)
        if start > self.contiguous:
            if len(self._islands) < _MAXIMUM_ISLANDS:
                self._islands = sorted({*self._islands, (start, end)})
        else:
            self.contiguous = max(self.contiguous, end)
            while self._islands and self._islands[0][0] <= self.contiguous:
                self.contiguous = max(self.contiguous, self._islands.pop(0)[1])
