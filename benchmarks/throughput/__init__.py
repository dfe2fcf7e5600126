"""The parts of `benchmarks/ota_throughput.py`: the fleet to update, the virtual dongle, the hosts, the numbers.

A host is a plug-in (`peers.py`): a process that is given a port and a fleet, and is then told what to do in three steps
(start, let the devices join, update them all). What it costs is measured from outside, the same for every host.
"""
