"""The flash memory of an emulated device: sectors that are erased whole, bytes that can be programmed once.

Every erase and every program is one operation, is counted, and can be the one in which the power goes away. A cut
operation is left undone, half done or done, as the test wants; after it nothing works until `restore_power`.
Not modelled: wear, read disturbance, timing.
"""

from collections.abc import Mapping

ERASED = 0xFF  # as NOR flash reads after an erase


class PowerLostError(Exception):
    """The power went away. This is no fault of the device; its owner starts it again."""


class FlashMisuseError(AssertionError):
    """The firmware broke a rule of flash memory: a bug in the emulated device."""


class Flash:
    """`sectors` of `sector_bytes` each, erased; memory is used only for sectors that were written."""

    def __init__(self, *, sectors: int = 1026, sector_bytes: int = 2048) -> None:
        self.sectors = sectors
        self.sector_bytes = sector_bytes
        self.operations = 0
        self._changed: set[int] = set()
        self._contents: dict[int, bytearray] = {}
        self._powered = True
        self._cut_at: int | None = None
        self._cut_share = 0.0

    def cut_power_at(self, operation: int, *, done: float = 0.5) -> None:
        """Lose power in the operation of this number (the next one is `operations + 1`), `done` of it carried out."""
        self._cut_at = operation
        self._cut_share = done

    def take_changes(self) -> dict[int, bytes | None]:
        """The sectors that changed since the last call; None for an erased one."""
        if not self._changed:
            return {}
        changed, self._changed = self._changed, set()
        contents = self._contents
        return {sector: bytes(contents[sector]) if sector in contents else None for sector in sorted(changed)}

    def restore(self, sectors: Mapping[int, bytes]) -> None:
        """Have these sectors, and all others erased. Raises ValueError for what does not fit this memory."""
        for sector, octets in sectors.items():
            if not 0 <= sector < self.sectors or len(octets) != self.sector_bytes:
                raise ValueError(f"sector {sector} of {len(octets)} octets is not of this flash")
        self._contents = {sector: bytearray(octets) for sector, octets in sectors.items()}
        self._changed.clear()

    def restore_power(self) -> None:
        self._powered = True

    def read(self, address: int, length: int) -> bytes:
        if address < 0 or length < 0 or address + length > self.sectors * self.sector_bytes:
            raise FlashMisuseError(f"read of {length} at {address} is outside the memory")
        result = bytearray()
        while length:
            sector, start = divmod(address, self.sector_bytes)
            count = min(length, self.sector_bytes - start)
            held = self._contents.get(sector)
            result += bytes([ERASED]) * count if held is None else held[start : start + count]
            address += count
            length -= count
        return bytes(result)

    def erase(self, sector: int) -> None:
        if not 0 <= sector < self.sectors:
            raise FlashMisuseError(f"there is no sector {sector}")
        share = self._begin()
        self._changed.add(sector)
        if share is None:
            self._contents.pop(sector, None)
            return
        held = self._contents.get(sector)
        if held is not None:
            count = int(len(held) * share)
            held[:count] = bytes([ERASED]) * count
        raise PowerLostError

    def program(self, address: int, octets: bytes) -> None:
        """Write into one erased stretch of one sector."""
        sector, start = divmod(address, self.sector_bytes)
        end = start + len(octets)
        if not 0 <= sector < self.sectors or end > self.sector_bytes:
            raise FlashMisuseError(f"program of {len(octets)} at {address} does not lie in one sector")
        held = self._contents.get(sector)
        if held is None:
            held = self._contents[sector] = bytearray([ERASED]) * self.sector_bytes
        if held.count(ERASED, start, end) != len(octets):
            raise FlashMisuseError(f"program of {len(octets)} at {address} hits bytes that are not erased")
        share = self._begin()
        self._changed.add(sector)
        if share is None:
            held[start:end] = octets
            return
        count = int(len(octets) * share)
        held[start : start + count] = octets[:count]
        raise PowerLostError

    def _begin(self) -> float | None:
        """Count one operation; the share of it that is carried out if the power goes away in it."""
        if not self._powered:
            raise PowerLostError
        self.operations += 1
        if self._cut_at != self.operations:
            return None
        self._cut_at = None
        self._powered = False
        return self._cut_share
