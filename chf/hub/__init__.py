"""The hub: radio, OTA server, updates, tunnels and store, wired in one place. Persist before send."""

from chf.hub.hub import Hub
from chf.hub.settings import HubSettings

__all__ = ["Hub", "HubSettings"]
