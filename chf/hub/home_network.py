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
    """Remembered by extended PAN id and the coordinator's EUI-64: a channel or a PAN id may change with the air."""

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
        found = "no network" if network is None else f"another network (extended PAN id {network.extended_pan_id:016X})"
        raise RefusedError(
            f"the dongle has {found}, and {self._joined} devices of this home are on the network with extended PAN id"
            f" {(self._known or {}).get('extended_pan_id')}: {_ADVICE}"
        )

    def note(self, network: NetworkInfo, batch: Batch) -> None:
        described = _described(network)
        if described != self._known:
            batch.write(lambda tx: tx.meta.set(_NOTE, json.dumps(described)))


def _described(network: NetworkInfo) -> dict[str, str]:
    return {"extended_pan_id": f"{network.extended_pan_id:016X}", "coordinator": format_eui64(network.coordinator)}
