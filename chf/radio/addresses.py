"""Who has which network address: one device per address, one address per device, the newest word wins."""

from chf.eui64 import Eui64


class Addresses:
    def __init__(self) -> None:
        self._network: dict[Eui64, int] = {}
        self._device: dict[int, Eui64] = {}

    def learn(self, device: Eui64, network_address: int) -> bool:
        """True where that is news."""
        if self._network.get(device) == network_address:
            return False
        self.forget(device)
        displaced = self._device.get(network_address)
        if displaced is not None:
            self.forget(displaced)
        self._network[device] = network_address
        self._device[network_address] = device
        return True

    def forget(self, device: Eui64) -> None:
        network_address = self._network.pop(device, None)
        if network_address is not None:
            del self._device[network_address]

    def network(self, device: Eui64) -> int | None:
        return self._network.get(device)

    def device(self, network_address: int) -> Eui64 | None:
        return self._device.get(network_address)
