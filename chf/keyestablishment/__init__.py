"""Certificate-based key establishment (SE1.4 C): the hub's side, one exchange with each device at a time."""

from chf.keyestablishment.effects import (
    ComputationFailure,
    Compute,
    Computed,
    Effect,
    Effects,
    Established,
    Failed,
    Install,
    Send,
    Token,
)
from chf.keyestablishment.responder import Responder
from chf.keyestablishment.session import KeyEstablishmentSettings
from chf.keyestablishment.transitions import State

__all__ = [
    "ComputationFailure",
    "Compute",
    "Computed",
    "Effect",
    "Effects",
    "Established",
    "Failed",
    "Install",
    "KeyEstablishmentSettings",
    "Responder",
    "Send",
    "State",
    "Token",
]
