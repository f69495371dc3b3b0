"""What holds for all tests."""

from __future__ import annotations

from hypothesis import settings

# A busy machine makes one example slow; no test depends on how fast it is.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
