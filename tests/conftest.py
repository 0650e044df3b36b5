"""For all tests: Hypothesis without deadlines, because a deadline measures the machine and not the code."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("benchkeeper", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("benchkeeper")
