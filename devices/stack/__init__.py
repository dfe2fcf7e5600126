"""A one-hop ZigBee PRO stack: coordinator with trust centre at one end, end devices at the other (see interface.py)."""
