"""The Communications Hub Function of a SMETS2 home area network, as a firmware-update bench."""

__version__ = "0.1.0"
