"""What a codec says about octets that it cannot take.

WireError
├── MalformedFrameError      the octets break the layout: where, and what was wrong
└── FrameSecurityError       the layout is fine, the protection is not: wrong key, tampered, unknown key
"""


class WireError(Exception):
    """Something that arrived is of no use. Stacks drop the frame and count it; nothing lets this escape."""


class MalformedFrameError(WireError):
    """`reason` at `offset` octets into the part that was being read (`layer`)."""

    def __init__(self, layer: str, reason: str, offset: int) -> None:
        super().__init__(f"{layer}: {reason} (at octet {offset})")
        self.layer = layer
        self.reason = reason
        self.offset = offset


class FrameSecurityError(WireError):
    """The frame does not authenticate, or names a key that nobody here has. Never says more: keys stay out of logs."""
