"""CORE. Update jobs: what they are (model), what may become of them (transitions), and when (scheduler)."""
