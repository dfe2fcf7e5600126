"""The radio on a TI Z-Stack dongle (CC26x2, CC13x2), by way of zigpy-znp."""

import logging

import zigpy.exceptions
from zigpy_znp.exceptions import CommandNotRecognized

from chf.radio.link import DongleSettings, Kind
from chf.radio.reconnecting import ReconnectingRadio
from chf.radio.znp.dongle import ZnpDongle
from chf.radio.znp.link import LINK_ERRORS

__all__ = ["ZnpRadio", "ZnpSettings"]

ZnpSettings = DongleSettings


class ZnpRadio(ReconnectingRadio):
    def __init__(self, settings: ZnpSettings) -> None:
        kind = Kind(
            name="a Z-Stack dongle",
            link=lambda events: ZnpDongle(settings, events),
            losses=LINK_ERRORS,
            refusals=(CommandNotRecognized, zigpy.exceptions.ZigbeeException),
            unparsed=(AssertionError, ValueError, KeyError),
            # On DEBUG they write keys and every octet of the line; zigpy-znp's api warns with the seed of the link keys
            loggers=(("zigpy", logging.INFO), ("zigpy_znp", logging.INFO), ("zigpy_znp.api", logging.ERROR)),
        )
        super().__init__(settings.port, kind)
