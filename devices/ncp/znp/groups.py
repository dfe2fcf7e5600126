"""Which endpoints of the dongle belong to which groups (Z-Stack Monitor and Test API 3.12, ZDO_EXT_*_GROUP). RAM."""

from typing import TYPE_CHECKING

from devices.ncp.znp.status import ZStatus

if TYPE_CHECKING:
    from devices.ncp.layout import Handler

_MAX_GROUPS = 64  # our choice
_EVERY_ENDPOINT = 0xFF  # 3.12, ZDO_EXT_REMOVE_ALL_GROUP


class GroupTable:
    """Handlers of the group commands."""

    def __init__(self) -> None:
        self._names: dict[tuple[int, int], bytes] = {}

    def handlers(self) -> dict[str, "Handler"]:
        return {
            "extFindGroup": self.find,
            "extAddGroup": self.add,
            "extRemoveGroup": self.remove,
            "extRemoveAllGroups": self.remove_all,
            "extCountAllGroups": lambda: (len(self._names),),
        }

    def members(self, group: int) -> tuple[int, ...]:
        return tuple(endpoint for endpoint, held in self._names if held == group)

    def find(self, endpoint: int, group: int) -> tuple[int, int, bytes]:
        name = self._names.get((endpoint, group))
        return (ZStatus.FAILURE, group, b"") if name is None else (ZStatus.SUCCESS, group, name)

    def add(self, endpoint: int, group: int, name: bytes) -> tuple[int]:
        if (endpoint, group) in self._names:
            return (ZStatus.APS_DUPLICATE_ENTRY,)
        if len(self._names) >= _MAX_GROUPS:
            return (ZStatus.APS_TABLE_FULL,)
        self._names[endpoint, group] = name
        return (ZStatus.SUCCESS,)

    def remove(self, endpoint: int, group: int) -> tuple[int]:
        removed = self._names.pop((endpoint, group), None)
        return (ZStatus.FAILURE if removed is None else ZStatus.SUCCESS,)

    def remove_all(self, endpoint: int) -> tuple[int]:
        for key in [key for key in self._names if endpoint in {key[0], _EVERY_ENDPOINT}]:
            del self._names[key]
        return (ZStatus.SUCCESS,)
