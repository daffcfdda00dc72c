"""Which GPU a machine has: it is asked itself, for the offer is only what somebody says of it."""

from __future__ import annotations

import re

from rekindle.errors import Unknown
from rekindle.ssh import Machine

_NAMES = "nvidia-smi --query-gpu=name --format=csv,noheader"
# What tells models apart: 4090, A100, L40, Ti. The market and nvidia-smi write the rest in different ways, such as
# `RTX 6000Ada` and `NVIDIA RTX 6000 Ada Generation`, or `H100 SXM` and `NVIDIA H100 80GB HBM3`.
_MODEL = re.compile(r"\b(?:[a-z]\d+|\d{2,}|ti\b)")


def gpu_told_by(machine: Machine) -> str:
    """What nvidia-smi on the machine calls its GPU; the first of several.

    Raises:
        Unknown: it tells none.
    """
    said = machine.run(_NAMES, check=False)
    if said.exit_code or not said.text.strip():
        told = (said.text + said.stderr.decode(errors="replace")).strip()
        raise Unknown(f"nvidia-smi on {machine.alias} tells no GPU, but: {told!r}.")
    return said.text.splitlines()[0].strip()


def is_model(told: str, rented: str) -> bool:
    """Whether what nvidia-smi tells is the model that was rented, as the market names it."""
    model = set(_MODEL.findall(rented.lower()))
    return model <= set(_MODEL.findall(told.lower())) if model else rented.lower() in told.lower()
