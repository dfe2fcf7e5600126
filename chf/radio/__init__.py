"""The dongle: the only importer of zigpy and its radio libraries.

`interface.py` is what the rest of the hub sees. Of any dongle: `reconnecting.py` opens it again when it goes,
`session.py` is one open link, `traffic.py` the messages on it, `link.py` what they need of a dongle, `application.py`
what is the same of every dongle that zigpy drives; `outbox.py` (what is sent next), `fragments.py`, `zdp.py`,
`ports.py`.

Of EZSP dongles, in `ezsp/`: `dongle.py` its commands, `link.py` the connection of bellows with the hub's messages on
it, `application.py` what is left of bellows' application, `traffic.py`, `frames.py`, `keys.py`, `security.py`. Of TI's
Z-Stack dongles the same parts on zigpy-znp, in `znp/`. `detect.py` finds out which of them answers at a port.
"""
