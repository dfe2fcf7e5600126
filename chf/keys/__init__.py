"""Certificate-based key establishment (SE1.4 C): the hub's side, one exchange with each device at a time."""

from chf.keys.effects import (
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
from chf.keys.responder import Responder
from chf.keys.session import KeyEstablishmentSettings
from chf.keys.transitions import State
