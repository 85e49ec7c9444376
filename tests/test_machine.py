"""The device is chosen by what the hardware has, and the doctor names each problem with its remedy."""

import importlib.metadata

import pytest
import torch

from helpers import device, doctor
from helpers.device import pick_device

NONE = {"amx_bf16": False, "avx512_bf16": False}


@pytest.mark.parametrize(
    ("features", "dtype", "reason"),
    [
        ({"amx_bf16": True, "avx512_bf16": True}, torch.bfloat16, "AMX"),
        ({"amx_bf16": False, "avx512_bf16": True}, torch.bfloat16, "AVX512-bf16"),
        (NONE, torch.float32, "no bfloat16 matrix units"),
        ({}, torch.float32, "no bfloat16 matrix units"),
    ],
)
def test_a_cpu_uses_bfloat16_only_with_hardware_for_it(monkeypatch, features, dtype, reason):
    """bfloat16 on a CPU with AMX or AVX512-bf16, float32 on any other, and the reason is said."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features)
    picked = pick_device("cpu")
    assert picked.dtype == dtype and reason in picked.reason


@pytest.mark.parametrize(("capability", "dtype"), [((7, 5), torch.float32), ((8, 0), torch.bfloat16), ((9, 0), torch.bfloat16)])
def test_a_gpu_uses_bfloat16_from_capability_8(monkeypatch, capability, dtype):
    """A T4 (7.5) has no bfloat16 units, an A100 (8.0) and later have."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "some GPU")
    assert pick_device("auto") == pick_device("cuda")
    assert pick_device("cuda").dtype == dtype


def test_a_named_dtype_is_used(cpu):
    """dtype="float32" overrides the choice, and autocast then changes nothing."""
    picked = pick_device("cpu", "float32")
    x = torch.randn(2, 2)
    with picked.autocast():
        assert (x @ x).dtype == torch.float32
    with pick_device("cpu", "bfloat16").autocast():
        assert (x @ x).dtype == torch.bfloat16


def test_a_missing_device_is_refused(monkeypatch):
    """A device that is not there gets a sentence that names those that are."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"no device 'cuda' .* available: .*cpu"):
        pick_device("cuda")


def test_threads_follow_the_environment(monkeypatch):
    """OMP_NUM_THREADS decides; without it the physical cores that this process may use do."""
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert pick_device("cpu").threads == 3
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(device.psutil, "cpu_count", lambda logical: 1)
    assert pick_device("cpu").threads == 1


def test_other_systems_keep_their_allocator(monkeypatch):
    """Outside glibc nothing is called."""
    monkeypatch.setattr(device.platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(device.ctypes, "CDLL", None)
    device.keep_freed_memory()


def test_the_doctor_finds_nothing_wrong_here():
    """In the course's own environment every package has the version that was tested."""
    assert list(doctor.package_problems()) == []


def test_the_doctor_names_wrong_and_missing_packages(monkeypatch):
    """A package of another version, and one that is not there, are named with the remedy."""
    real = importlib.metadata.version

    def fake(name):
        if name == "tqdm":
            return "0.1"
        if name == "pooch":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", fake)
    wrong, missing = sorted(doctor.package_problems(), reverse=True)
    assert wrong.startswith("tqdm is 0.1, tested with ==4") and "course.py" in wrong
    assert missing.startswith("pooch is not installed") and "course.py" in missing


def test_the_doctor_names_what_the_machine_lacks(monkeypatch, tmp_path):
    """Little memory, little disk and missing data are named with the remedy."""
    assert list(doctor.machine_problems(memory=16, disk=50)) == []
    monkeypatch.setattr(doctor, "ENCYCLOPEDIA", tmp_path)
    memory, disk, data = doctor.machine_problems(memory=1, disk=0.5)
    assert "close other programs" in memory and "--out" in disk and "fetch the course again" in data


def test_the_doctor_counts_its_problems(monkeypatch, capsys):
    """The number of problems is returned, and each is printed."""
    monkeypatch.setattr(doctor, "machine_problems", lambda memory, disk: ["Too hot: open a window."])
    assert doctor.doctor() == 1
    assert "Too hot: open a window." in capsys.readouterr().out
