"""The `chf` command."""
