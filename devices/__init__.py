"""Everything that the hub talks to: the virtual dongle, the radio medium and the emulated devices.

Nothing in here knows zigpy, bellows or zigpy-znp, and of chf only the cryptography and the GBCS messages, whose truth
is held by published vectors: a fake radio made from its client's own codec would share its client's mistakes.
"""
