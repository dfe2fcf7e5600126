"""What holds for every test: hypothesis draws the same examples each time, and judges no example by the clock."""

from hypothesis import HealthCheck, settings

# A deadline, or the check for slow drawing, would tell how busy the machine is and nothing of what is tested.
settings.register_profile("repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("repeatable")
