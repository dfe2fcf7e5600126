"""Emulated devices: what runs on a `DeviceStack`. `Ppmid` is the one that there is; `PpmidSettings` makes it.

A device's life is power, boot loader, network, clusters. `ppmid` wires it; `ota_client` with `ota_states`, `ota_fetch`
and `waiting` updates its firmware; `image_bank`, `journal` and `flash` keep it; `tunnel_server` and `alerts` report.
"""
