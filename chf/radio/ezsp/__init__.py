"""The radio on an EZSP dongle (Silicon Labs EFR32 and older), by way of bellows."""

import logging

import zigpy.exceptions
from bellows.exception import InvalidCommandError

from chf.radio.ezsp.dongle import EzspDongle, EzspSettings
from chf.radio.ezsp.link import LINK_ERRORS
from chf.radio.link import Kind
from chf.radio.reconnecting import ReconnectingRadio

__all__ = ["EzspRadio", "EzspSettings"]


class EzspRadio(ReconnectingRadio):
    def __init__(self, settings: EzspSettings) -> None:
        kind = Kind(
            name="an EZSP dongle",
            link=lambda events: EzspDongle(settings, events),
            losses=LINK_ERRORS,
            refusals=(InvalidCommandError, zigpy.exceptions.ZigbeeException, AssertionError),
            unparsed=(),
            # On DEBUG they write the network key, every link key, and every octet of the line
            loggers=(("zigpy", logging.INFO), ("bellows", logging.INFO)),
        )
        super().__init__(settings.port, kind)
