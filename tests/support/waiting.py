"""One wait for what only looking tells: a store that another task writes, or an emulated world.

Where something tells of itself (a listener, an event), wait for that instead.
"""

import asyncio
from collections.abc import Callable

LIMIT_S = 60.0
_LOOK_EVERY_S = 0.01


def _nothing() -> str:
    return ""


async def until(
    condition: Callable[[], object], what: str = "it", explain: Callable[[], str] = _nothing, limit_s: float = LIMIT_S
) -> None:
    """Until it holds. `limit_s` is on the clock of the event loop, which may be a virtual one."""
    clock = asyncio.get_running_loop().time
    give_up = clock() + limit_s
    while not condition():
        assert clock() < give_up, f"waited {limit_s} s in vain for {what}\n{explain()}"
        await asyncio.sleep(_LOOK_EVERY_S)
