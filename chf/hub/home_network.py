"""The network that a home's devices are on. A dongle with another one, or with none, is not theirs."""

import json
from typing import Final

from chf.errors import DamagedRowError, RefusedError
from chf.eui64 import format_eui64
from chf.hub.batch import Batch
from chf.hub.devices import KnownDevices
from chf.radio.interface import NetworkInfo
from chf.store import Store

_NOTE: Final = "network"  # a key of the store's meta table
_ADVICE: Final = (
    "put theirs onto it with `chf radio restore FILE`, or take this one for good with `chf run --adopt-network`: then"
    " every device has to be joined again"
)


class HomeNetwork:
    """Remembered by extended PAN id, coordinator and PAN id; its channel may change with the air.

    The first two are the stick's own EUI-64, so that of a network formed anew on the same stick the PAN id alone tells.
    """

    def __init__(self, store: Store, devices: KnownDevices) -> None:
        self._joined = sum(1 for _ in devices.joined())
        try:
            self._known = store.meta.json(_NOTE)
        except DamagedRowError:
            self._known = None  # as a home of before it was noted; `chf doctor` names the row

    @property
    def binds(self) -> bool:
        """Whether another network would leave devices behind."""
        return bool(self._joined) and self._known is not None

    def require(self, network: NetworkInfo | None) -> None:
        """Raise RefusedError where this is not the network of the home's devices; None: there is none."""
        if not self.binds or (network is not None and _described(network) == self._known):
            return
        found = "no network" if network is None else f"another network {_named(_described(network))}"
        raise RefusedError(
            f"the dongle has {found}, and this home's devices ({self._joined}) are on the network"
            f" {_named(self._known or {})}: {_ADVICE}"
        )

    def note(self, network: NetworkInfo, batch: Batch) -> None:
        described = _described(network)
        if described != self._known:
            batch.write(lambda tx: tx.meta.set(_NOTE, json.dumps(described)))


def _described(network: NetworkInfo) -> dict[str, str]:
    return {
        "extended_pan_id": f"{network.extended_pan_id:016X}",
        "coordinator": format_eui64(network.coordinator),
        "pan_id": f"0x{network.pan_id:04X}",
    }


def _named(described: dict[str, str]) -> str:
    return f"with extended PAN id {described.get('extended_pan_id')}, PAN id {described.get('pan_id')}"
