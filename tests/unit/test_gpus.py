"""The GPU that a machine tells, and the one that was rented: one model under two names, or two models."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rekindle.errors import Mismatch, RekindleError, Unknown
from rekindle.gpus import gpu_told_by, is_model
from tests.unit.local_machine import LocalMachine, tools
from tests.unit.test_renting import House, furnish


@pytest.mark.parametrize(
    ("rented", "told"),
    [
        ("RTX 4090", "NVIDIA GeForce RTX 4090"),
        ("RTX 6000Ada", "NVIDIA RTX 6000 Ada Generation"),
        ("RTX 4070S Ti", "NVIDIA GeForce RTX 4070 Ti SUPER"),
        ("H100 SXM", "NVIDIA H100 80GB HBM3"),
        ("A100 PCIE", "NVIDIA A100-PCIE-40GB"),
        ("Tesla V100", "Tesla V100-SXM2-16GB"),
        ("Tesla T4", "Tesla T4"),
        ("L40S", "NVIDIA L40S"),
        ("RTX A4000", "RTX A4000"),
        ("Titan V", "NVIDIA TITAN V"),
    ],
)
def test_one_model_under_two_names(rented: str, told: str) -> None:
    assert is_model(told, rented)


@pytest.mark.parametrize(
    ("rented", "told"),
    [
        ("RTX 4090", "NVIDIA GeForce RTX 4080"),
        ("RTX 4000", "NVIDIA RTX A4000"),
        ("RTX A4000", "Quadro RTX 4000"),
        ("RTX 3060 Ti", "NVIDIA GeForce RTX 3060"),
        ("H100 SXM", "NVIDIA A100-SXM4-80GB"),
        ("Tesla P40", "Tesla P4"),
        ("Titan V", "NVIDIA TITAN RTX"),
    ],
)
def test_two_models(rented: str, told: str) -> None:
    assert not is_model(told, rented)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'No devices were found'; exit 6", "No devices were found"),
        ("exit 0", "''"),
        ("echo no >&2; exit 9", "no"),
    ],
)
def test_a_machine_that_tells_no_gpu_is_unknown(tmp_path: Path, script: str, said: str) -> None:
    machine = LocalMachine(tools(tmp_path / "bin", replaced={"nvidia-smi": script}))
    with pytest.raises(Unknown, match=f"nvidia-smi on local tells no GPU, but: .*{said}"):
        gpu_told_by(machine)


def test_the_first_of_several_is_told(tmp_path: Path) -> None:
    said = "printf 'NVIDIA H100 NVL\\nNVIDIA H100 NVL\\n'"
    assert gpu_told_by(LocalMachine(tools(tmp_path / "bin", replaced={"nvidia-smi": said}))) == "NVIDIA H100 NVL"


@pytest.mark.parametrize(
    ("told", "error", "says"),
    [
        ("Tesla K80", Mismatch, r"\(RTX A4000, .*\) was rented as RTX A4000, but nvidia-smi on it says 'Tesla K80'"),
        ("", Unknown, "tells no GPU"),
    ],
)
def test_a_machine_with_another_gpu_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str, error: type[RekindleError], says: str
) -> None:
    house = furnish(House(tmp_path), monkeypatch)
    house.cloud.gpu = told
    assert re.search(says, house.failure(error))
    house.nothing_is_left()
