"""zigpy-znp's access to the flash of a Z-Stack dongle, with fewer requests: on a stick each takes some 12 ms.

zigpy-znp asks the length of an item before it reads or writes it, and writes what is there already. A stick has 460
entries in its tables, which made a network take 50 s to form.
"""

import itertools
from collections.abc import AsyncIterator, Iterable
from typing import Any

import zigpy_znp.commands as mt
import zigpy_znp.types as znp
from zigpy_znp.exceptions import InvalidCommandResponse
from zigpy_znp.nvram import PROXIED_NVIDS, NVRAMHelper
from zigpy_znp.types.nvids import NvSysIds

_LONGEST_WRITE = 244  # as zigpy-znp has it: what one request holds
_LONGEST_READ = 240  # our choice, below the 248 of an answer: what is as long as that may go on


class HubNvram(NVRAMHelper):  # type: ignore[misc]
    async def osal_read(self, nv_id: int, *, item_type: Any) -> Any:
        """One request where the item is there and not long. Raises KeyError where it is not."""
        octets = await self._held(nv_id)
        if octets is None:
            return await super().osal_read(nv_id, item_type=item_type)
        return self.deserialize(octets, item_type)

    async def osal_write(self, nv_id: int, value: Any, *, create: bool = False) -> None:
        """Nothing is written that is so already."""
        octets, held = self.serialize(value), await self._held(nv_id)
        if held is None or len(held) != len(octets) or len(octets) > _LONGEST_WRITE:
            await super().osal_write(nv_id, octets, create=create)
        elif held != octets:
            request = mt.SYS.OSALNVWriteExt.Req(Id=nv_id, Offset=0, Value=znp.ShortBytes(octets))
            await self.znp.request(request, RspStatus=znp.Status.SUCCESS)

    async def _held(self, nv_id: int) -> bytes | None:
        """None where there is no such item, or one request does not tell all of it."""
        if nv_id in PROXIED_NVIDS:
            return None
        answer = await self.znp.request(mt.SYS.OSALNVReadExt.Req(Id=nv_id, Offset=0))
        whole = answer.Status == znp.Status.SUCCESS and 0 < len(answer.Value) < _LONGEST_READ
        return bytes(answer.Value) if whole else None

    async def read_table(
        self, *, sys_id: int = NvSysIds.ZSTACK, item_id: int, item_type: Any = znp.Bytes
    ) -> AsyncIterator[Any]:
        async for octets in self._entries(sys_id, item_id):
            yield self.deserialize(octets, item_type)

    async def write_table(
        self, *, sys_id: int = NvSysIds.ZSTACK, item_id: int, values: Iterable[Any], fill_value: Any
    ) -> None:
        """`values`, then `fill_value` to the end; only where something else is."""
        wanted = itertools.chain(values, itertools.repeat(fill_value))
        sub_id = 0
        async for held in self._entries(sys_id, item_id):
            octets = self.serialize(next(wanted))
            if octets != held:
                await self.write_entry(item_id, sub_id, octets, sys_id=sys_id)
            sub_id += 1

    async def write_entry(self, item_id: int, sub_id: int, octets: bytes, *, sys_id: int = NvSysIds.ZSTACK) -> None:
        """Over one that was read and is as long."""
        request = mt.SYS.NVWrite.Req(SysId=sys_id, ItemId=item_id, SubId=sub_id, Offset=0, Value=znp.ShortBytes(octets))
        await self.znp.request(request, RspStatus=znp.Status.SUCCESS)

    async def entry(self, item_id: int, sub_id: int, size_bytes: int) -> bytes | None:
        """One of a table whose entries are this long; None beyond its end."""
        return await self._read(NvSysIds.ZSTACK, item_id, sub_id, size_bytes)

    async def size(self, item_id: int, likely: int) -> int:
        """Entries of a table, in two requests where there are as many as is likely."""
        if likely and await self._has(item_id, likely - 1) and not await self._has(item_id, likely):
            return likely
        most = 1
        while await self._has(item_id, most - 1):
            most *= 2
        least = most // 2
        while most - least > 1:
            middle = (least + most) // 2
            if await self._has(item_id, middle - 1):
                least = middle
            else:
                most = middle
        return least

    async def _has(self, item_id: int, sub_id: int) -> bool:
        return bool(await self._length(NvSysIds.ZSTACK, item_id, sub_id))

    async def _entries(self, sys_id: int, item_id: int) -> AsyncIterator[bytes]:
        """All are as long as the first."""
        size_bytes = await self._length(sys_id, item_id, 0)
        for sub_id in itertools.count() if size_bytes else ():
            octets = await self._read(sys_id, item_id, sub_id, size_bytes)
            if octets is None:
                return
            yield octets

    async def _read(self, sys_id: int, item_id: int, sub_id: int, size_bytes: int) -> bytes | None:
        answer = await self.znp.request(
            mt.SYS.NVRead.Req(SysId=sys_id, ItemId=item_id, SubId=sub_id, Offset=0, Length=size_bytes)
        )
        if answer.Status == znp.Status.SUCCESS:
            return bytes(answer.Value)
        if await self._length(sys_id, item_id, sub_id):  # the end of a table and a fault have the same status
            raise InvalidCommandResponse(f"entry {sub_id} of table {item_id} cannot be read", answer)
        return None

    async def _length(self, sys_id: int, item_id: int, sub_id: int) -> int:
        answer = await self.znp.request(mt.SYS.NVLength.Req(SysId=sys_id, ItemId=item_id, SubId=sub_id))
        return int(answer.Length)
