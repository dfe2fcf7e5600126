"""How a co-processor tells its host what became of a message: at once, unless somebody else decides."""

from collections.abc import Callable

from devices.stack.interface import Eui64

TellFate = Callable[[Eui64 | None, Callable[[], None]], None]
"""Takes to which device the message went, None where nobody knows, and what tells its fate when called."""


def tell_at_once(_device: Eui64 | None, say: Callable[[], None]) -> None:
    say()
