"""What several keyword libraries share, and Robot Framework has to do with; no keywords."""

from robot.libraries.BuiltIn import BuiltIn

from library_parts.robot_version import require

# Every keyword library imports this package, before it uses anything that an older Robot Framework lacks.
require(BuiltIn.ROBOT_LIBRARY_VERSION)
