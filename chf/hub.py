"""The hub: radio, OTA server, jobs, tunnel and store, wired in one place."""
