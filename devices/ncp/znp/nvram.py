"""The co-processor's flash, item by item, through both sets of NV commands (Z-Stack Monitor and Test API 3.8.1).

An item has a system, an item and a sub number; the 16-bit numbers of the older commands are the subs of ZStack's item
0, so that both see the same octets. What is refused, and how, is as in mt_sys.c and osal_nv.c (TI-MT); the newer
commands answer with the numbers of the flash driver.

Some items mirror what the running stack knows (counters, tables): their content is asked for when it is read. An item
that the host writes is the host's until the next reset: the stack neither changes nor heeds it before it boots.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from devices.ncp.layout import Handler
from devices.ncp.znp.items import POLL_RATE, POLL_RATE_OLD16
from devices.ncp.znp.status import ZStatus

ZSTACK = 1  # nvintf.h, NVINTF_SYSID_ZSTACK
LEGACY = 0  # nvintf.h: the older commands have no system
MAX_ITEM_BYTES = 0x0FFF  # what the header of an item in flash holds (nvocmp.c), as are the next two
_LAST_SYSTEM = 0x3F  # six bits, nvintf.h
_LAST_NUMBER = 0x03FF  # of items and of subs, and with it of the older commands' numbers
MAX_ITEMS = 4096  # our choice: what a host creates must not fill the memory
_LONGEST_READ = 248  # with status and length, the data of one frame


class NvKey(NamedTuple):
    system: int
    item: int
    sub: int


def legacy(number: int) -> NvKey:
    """The item that the older commands call `number`."""
    return NvKey(ZSTACK, LEGACY, number)


Mirror = Callable[[int], bytes]
"""The present content of a table's entry with this sub number."""


class Nvram:
    """The items, and the handlers of the NV commands. `mirror` makes a table live."""

    def __init__(self) -> None:
        self.revision = 0  # counts what was written; not what a mirror shows
        self._items: dict[NvKey, bytes] = {}
        self._tables: dict[tuple[int, int], Mirror] = {}
        self._singles: dict[NvKey, Callable[[], bytes]] = {}
        self._from_host: set[NvKey] = set()

    def retained(self) -> dict[NvKey, bytes]:
        """Every item as it is now: what a reset would find."""
        return {key: self.get(key) or b"" for key in self._items}

    def restore(self, items: Mapping[NvKey, bytes]) -> None:
        """Have these items and no others, as after a reset."""
        self._items = dict(items)
        self.revision += 1
        self._tables.clear()
        self._singles.clear()
        self._from_host.clear()

    # for the chip itself

    def get(self, key: NvKey) -> bytes | None:
        if key not in self._items:
            return None
        if key not in self._from_host:
            if key in self._singles:
                return self._singles[key]()
            if (table := self._tables.get(key[:2])) is not None:
                return table(key.sub)
        return self._items[key]

    def put(self, key: NvKey, value: bytes) -> None:
        self._items[key] = value
        self.revision += 1

    def discard(self, key: NvKey) -> None:
        self.revision += 1
        self._items.pop(key, None)

    def mirror(self, system: int, item: int, content: Mirror) -> None:
        """From now on, whatever the host wrote there."""
        self._tables[system, item] = content
        self.revision += 1
        self._from_host = {key for key in self._from_host if key[:2] != (system, item)}

    def mirror_one(self, key: NvKey, content: Callable[[], bytes]) -> None:
        self._singles[key] = content
        self.revision += 1

    def settle(self) -> None:
        """A reset: what the stack knew is in flash now, and what the host wrote counts from here on."""
        for key in self._items:
            content = self.get(key)
            assert content is not None
            self._items[key] = content
        self._tables.clear()
        self._singles.clear()
        self._from_host.clear()
        self.revision += 1

    # for the host

    def handlers(self) -> dict[str, Handler]:
        return {
            "osalNvItemInit": self.osal_item_init,
            "osalNvRead": self.osal_read,
            "osalNvReadExt": self.osal_read,
            "osalNvWrite": self.osal_write,
            "osalNvWriteExt": self.osal_write_ext,
            "osalNvDelete": self.osal_delete,
            "osalNvLength": lambda number: (0 if number == POLL_RATE_OLD16 else self._length(legacy(number)),),
            "nvCreate": self.create,
            "nvDelete": self.delete,
            "nvLength": lambda system, item, sub: (self._length(NvKey(system, item, sub)),),
            "nvRead": self.read,
            "nvWrite": self.write,
        }

    def osal_item_init(self, number: int, length: int, value: bytes) -> tuple[int]:
        """Answers NV_ITEM_UNINIT where there was no such item of this length, although there is one now."""
        key = legacy(number)
        held = self.get(key)
        if number == POLL_RATE_OLD16 or (held is not None and len(held) == length):
            return (ZStatus.SUCCESS,)
        return (self._make(key, value[:length].ljust(length, b"\xff")),)

    def osal_read(self, number: int, offset: int) -> tuple[int, bytes]:
        if number == POLL_RATE_OLD16:
            held = self.get(legacy(POLL_RATE))
            return (ZStatus.FAILURE, b"") if held is None else (ZStatus.SUCCESS, held[:2])
        held = self.get(legacy(number))
        if held is None or offset >= len(held):
            return ZStatus.INVALID_PARAMETER, b""
        return ZStatus.SUCCESS, held[offset : offset + _LONGEST_READ]

    def osal_write(self, number: int, offset: int, value: bytes) -> tuple[int]:
        """The offset counts for the length that must be there, and the octets go to the start all the same."""
        if offset + len(value) > self._length(legacy(number)) and number != POLL_RATE_OLD16:
            return (ZStatus.INVALID_PARAMETER,)
        return self.osal_write_ext(number, 0, value)

    def osal_write_ext(self, number: int, offset: int, value: bytes) -> tuple[int]:
        if number == POLL_RATE_OLD16:
            number, offset, value = POLL_RATE, 0, value[:2].ljust(4, b"\0")
        key = legacy(number)
        held = self.get(key)
        if held is None or offset + len(value) > len(held):
            return (ZStatus.INVALID_PARAMETER,)
        self._overwrite(key, held, offset, value)
        return (ZStatus.SUCCESS,)

    def osal_delete(self, number: int, length: int) -> tuple[int]:
        if number == POLL_RATE_OLD16:
            return (ZStatus.SUCCESS,)
        key = legacy(number)
        held = self.get(key)
        if held is None:
            return (ZStatus.NV_ITEM_UNINIT,)
        if len(held) != length:
            return (ZStatus.NV_BAD_ITEM_LEN,)
        self._forget(key)
        return (ZStatus.SUCCESS,)

    def create(self, system: int, item: int, sub: int, length: int) -> tuple[int]:
        key = NvKey(system, item, sub)
        return (ZStatus.SUCCESS if key in self._items else self._make(key, bytes(min(length, MAX_ITEM_BYTES + 1))),)

    def delete(self, system: int, item: int, sub: int) -> tuple[int]:
        key = NvKey(system, item, sub)
        if key not in self._items:
            return (ZStatus.NV_NOT_FOUND,)
        self._forget(key)
        return (ZStatus.SUCCESS,)

    def read(self, system: int, item: int, sub: int, offset: int, length: int) -> tuple[int, bytes]:
        held = self.get(NvKey(system, item, sub))
        if held is None:
            return ZStatus.NV_NOT_FOUND, b""
        if offset > len(held):
            return ZStatus.INVALID_PARAMETER, b""
        return ZStatus.SUCCESS, held[offset : offset + min(length, _LONGEST_READ)]

    def write(self, system: int, item: int, sub: int, offset: int, value: bytes) -> tuple[int]:
        key = NvKey(system, item, sub)
        held = self.get(key)
        if held is None:
            return (ZStatus.NV_NOT_FOUND,)
        if offset + len(value) > len(held):
            return (ZStatus.NV_BAD_ITEM_LEN,)
        self._overwrite(key, held, offset, value)
        return (ZStatus.SUCCESS,)

    def _make(self, key: NvKey, value: bytes) -> ZStatus:
        """In place of one of another length, where there is one."""
        fits = key.system <= _LAST_SYSTEM and key.item <= _LAST_NUMBER and key.sub <= _LAST_NUMBER
        full = key not in self._items and len(self._items) >= MAX_ITEMS
        if not fits or full or not 0 < len(value) <= MAX_ITEM_BYTES:
            return ZStatus.NV_OPER_FAILED
        self._items[key] = value
        self._from_host.add(key)
        self.revision += 1
        return ZStatus.NV_ITEM_UNINIT

    def _overwrite(self, key: NvKey, held: bytes, offset: int, value: bytes) -> None:
        self._items[key] = held[:offset] + value + held[offset + len(value) :]
        self._from_host.add(key)
        self.revision += 1

    def _forget(self, key: NvKey) -> None:
        self._from_host.discard(key)
        self.revision += 1
        del self._items[key]

    def _length(self, key: NvKey) -> int:
        return len(self.get(key) or b"")
