"""The dongle: the only importer of zigpy and bellows.

`interface.py` is what the rest of the hub sees. `ezsp.py` implements it for EZSP dongles: its life around sessions;
`ezsp_session.py` is one open link, `ezsp_traffic.py` the messages on it, `ezsp_link.py` bellows with a fast lane,
`ezsp_application.py` what is left of zigpy's application, `ezsp_frames.py` and `ezsp_keys.py` frames and keys.
Of any dongle: `outbox.py` (who sends next), `fragments.py`, `addresses.py`, `zdp.py`, `backoff.py`, `guarded.py`,
`ports.py`.
"""
