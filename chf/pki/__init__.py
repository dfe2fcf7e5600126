"""Keys and certificates: the test PKI of the GBCS side and of the ZigBee side, and certificates from elsewhere."""
