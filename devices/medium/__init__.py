"""Simulated time and the simulated 2.4 GHz radio between the virtual dongle and the emulated devices."""
