"""Firmware images: standard ZigBee OTA files and GBCS OTA Upgrade Images, read strictly and built reproducibly.

`image.parse_image` is the one way in, `build.build_image` the one way out; docs/image-format.md has the bytes.
"""
