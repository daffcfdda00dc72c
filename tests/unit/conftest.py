"""Properties are tested without a time limit for each example: how fast this machine is just now proves nothing."""

from hypothesis import settings

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
