"""Response codes and DCC Alert codes: which meanings are published, and which are ours.

The schema enumerates every code; for those of SR 11.1 and 11.4, and for most DCC Alerts, no public text was found
(DUIS-XSD, SECAS). "Ours" is how this bench uses a code, and nobody else's word.
"""

from enum import Enum


class ResponseCode(Enum):
    """Those that this bench sends."""

    SUCCESS = "I0"
    ACKNOWLEDGED = "I99"  # the outcome follows
    UNKNOWN_SENDER = "E1"  # authorisation: the user
    ROLE = "E2"  # authorisation: the user's role; ours: for a service that is not taken in here
    DEVICE_STATUS = "E5"  # authorisation: the device's status
    VALIDATION = "E11"  # the service is not one for this device; ours: for whatever else is wrong with a request
    COMMAND_VARIANT = "E12"  # it does not go with the request
    ADDRESS = "E13"  # the request is not for the address where it was posted
    DEVICE_DOES_NOT_EXIST = "E19"
    CANNOT_COMMUNICATE = "E20"  # with the device
    NO_RESPONSE = "E21"  # of the device
    TIMED_OUT = "E30"  # of a future-dated request
    UPDATE_FIRMWARE_IMAGE = "E110101"  # ours: the image or its version was refused
    UPDATE_FIRMWARE_NO_DEVICE = "E110102"  # ours: every device was refused
    UPDATE_FIRMWARE_PARTIAL = "W110101"  # some devices were refused; the body lists them
    UPDATE_PPMID_FIRMWARE_IMAGE = "E110401"  # ours: the image or its version was refused
    UPDATE_PPMID_FIRMWARE_NO_DEVICE = "E110402"  # ours: every device was refused
    UPDATE_PPMID_FIRMWARE_PARTIAL = "W110401"  # some devices were refused; the body lists them


class DccAlertCode(Enum):
    """Those that this bench sends."""

    DELIVERED_TO_HUB = "N60"  # the image reached the hub; published for ESME and GSME
    NOT_DELIVERED_TO_HUB = "N61"  # it did not; published for ESME and GSME
    COMMS_HUB_ALERT = "N62"  # carries a CommsHubAlert; the number is our choice
    PPMID_ALERT = "N39"  # carries a PPMIDAlert; the number is our choice
