"""Values that Dumont Cloud uses where the user names none, and its words for work that a restart ended."""

from __future__ import annotations

DEFAULT_IMAGE = "pytorch/pytorch:2.1.0-cuda12.1-cudnn8-runtime"
DEFAULT_DISK = 100.0  # GB
CUT = "Dumont Cloud was stopped meanwhile"
