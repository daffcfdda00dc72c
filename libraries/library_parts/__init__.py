"""What several keyword libraries share, and Robot Framework has to do with; no keywords."""

from importlib.metadata import version

from library_parts.robot_version import require

# Every keyword library imports this package, before it uses anything that an older Robot Framework lacks.
require(version("robotframework"))
