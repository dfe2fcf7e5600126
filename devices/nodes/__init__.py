"""Emulated devices: what runs on a `DeviceStack`.

A `Device` is a stack with clusters: it has power, timers and flash, and carries out what the clusters want. `kinds`
says what a PPMID, HCALCS, ESME and GSME are made of. `ota_client` with `ota_states` and `ota_fetch` updates the
firmware, which `firmware`, `image_bank`, `journal` and `flash` keep; `tunnel_cluster` and `messages` report.
"""
