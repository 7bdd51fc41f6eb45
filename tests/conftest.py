"""Settings shared by all tests: no check depends on how fast the machine is."""

from hypothesis import settings

# On top of the profile in force, which is hypothesis' own reproducible one where the variable CI is set.
settings.register_profile("kvfloor", parent=settings(), deadline=None)
settings.load_profile("kvfloor")
