"""The settings of the OTA server, with the reasons for their defaults. Values only."""

from dataclasses import dataclass

from chf.errors import UsageError
from chf.update.model import TimeForm

CLIENT_WAIT_LIMIT_S = 3600  # Silicon Labs clients cut any wait to this and then go ahead


@dataclass(frozen=True, slots=True)
class OtaPolicy:
    """Raises UsageError for a setting that fielded clients would turn into an early activation."""

    # A real activation time is given only when it is nearer than the window of the device's class of client, and than
    # this: it can make a window smaller, never larger.
    commit_window_s: float = 55 * 60
    # How late an activation may still happen. Later than this it is missed, and waits for a person.
    grace_s: float = 3600
    # One WAIT_FOR_DATA of a parked device, and of one whose release can come at any moment.
    park_wait_s: int = 1800
    hold_wait_s: int = 60
    time_form: TimeForm = TimeForm.RELATIVE  # of waits, where the activation does not say

    # The data of one block in a secured frame: 127 octets less every header.
    block_bytes: int = 56
    fragmented_blocks: bool = True  # larger ones for a client that asks for them and puts APS fragments together
    minimum_spacing_s: float = 0.00025  # between the blocks of a page, whatever less is asked; the air takes longer
    crowded_retry_s: float = 0.005  # until a block of a page is tried again that found no room
    # A client that waits for its answers has one or two under way. This many undelivered ones are a flood.
    blocks_in_flight: int = 32
    in_flight_expiry_s: float = 10.0  # a radio that lost count of them is believed no longer than this

    # Image Notify: first at the offer, then at doubling intervals; also to a device that fell silent.
    notify_interval_s: float = 30.0
    notify_interval_limit_s: float = 3600.0
    # Silence that is worth an alarm: in a download, and after it, where devices verify for minutes.
    stall_s: float = 900.0
    verify_s: float = 1800.0
    # Downloads that a device may give up (Upgrade End ABORT) and be invited to again before the transfer has failed.
    retries_after_abort: int = 0
    # A device may hold the whole image already, from another server. Believing that means believing a device that
    # never asked for a byte.
    believe_stored_image: bool = False
    # A request without a hardware version cannot be checked against the image's range. The field is optional, and
    # the device checks as well.
    serve_unknown_hardware: bool = True

    # The Upgrade End Response is said again where it was not delivered, and after the activation time until the
    # device is heard to run the new version.
    resend_s: float = 2.0
    resends: int = 8
    reminder_s: float = 30.0
    reminders: int = 5
    # Appointments are looked at this often, so that a stepped wall clock is noticed.
    clock_check_s: float = 60.0
    progress_interval_s: float = 0.25
    checkpoint_interval_s: float = 5.0

    def __post_init__(self) -> None:
        if not 0 < self.commit_window_s < CLIENT_WAIT_LIMIT_S:
            raise UsageError(
                f"commit_window_s is {self.commit_window_s}: clients cut a wait to {CLIENT_WAIT_LIMIT_S} s"
                " and then activate, so it must be less"
            )
        for name in ("park_wait_s", "hold_wait_s"):
            if not 1 <= getattr(self, name) <= CLIENT_WAIT_LIMIT_S:
                raise UsageError(f"{name} is {getattr(self, name)}: clients wait 1 to {CLIENT_WAIT_LIMIT_S} s")
        if not 1 <= self.block_bytes <= 0xFF:
            raise UsageError(f"block_bytes is {self.block_bytes}: a block carries 1 to 255 octets")
