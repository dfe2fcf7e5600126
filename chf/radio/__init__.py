"""The dongle: the only importer of zigpy and its radio libraries.

`interface.py` is what the rest of the hub sees. Of any dongle: `kept.py` is a radio's life around its links,
`session.py` one open link, `traffic.py` the messages on it, `link.py` what they need of a dongle; `application.py`,
`backups.py` and `settings.py` are what is told to zigpy; `outbox.py` (who sends next), `fragments.py`, `addresses.py`,
`zdp.py`, `guarded.py`, `ports.py`.

Of EZSP dongles, in `ezsp/`: `dongle.py` its commands, `link.py` bellows with a fast lane, `application.py` what is
left of zigpy's application, `traffic.py`, `frames.py`, `keys.py`. Of TI's Z-Stack dongles the same parts on zigpy-znp,
in `znp/`. `detect.py` finds out which of them answers at a port.
"""
