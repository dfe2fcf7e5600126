"""A one-hop ZigBee PRO stack: coordinator with trust centre at one end, end devices at the other (see interface.py).

In: association and stochastic addresses; Transport-Key under the key-transport key of an install code; secured and
trust-centre rejoin; leave; end-device timeout and ageing; NWK and APS security with counters that never repeat and
replays that are refused; APS acknowledgements, retries, duplicates, fragments of a window of one; indirect frames for
sleepy children; broadcasts relayed for children; the device object's answers (zdo.py).

Out: routers and routes, key updates, Update-Device, Request-Key and Verify-Key, APS link keys between devices, PAN ID
conflicts, network and channel managers, bindings that do anything, Inter-PAN.
"""
