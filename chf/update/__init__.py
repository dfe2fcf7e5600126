"""CORE. Updates: what they are (model), what may become of them (transitions), when (scheduler), and the transfer."""
