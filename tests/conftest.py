"""What holds for every test."""

import os

from hypothesis import HealthCheck, settings

# A busy machine is no failure of the code. Where CI is set, examples are the same in every run.
settings.register_profile(
    "paastis",
    settings.get_profile("ci" if os.environ.get("CI") else "default"),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("paastis")
