"""The compiled kernel on the CPU: its source behind a stand-in for CUDA and for the driver."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest

from actrace.capture.cuda.fused import source

HERE = Path(__file__).parent
COMPILER = shutil.which("g++") or shutil.which("c++")


@pytest.fixture(scope="session")
def kernel_library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    if COMPILER is None:
        pytest.skip("needs a C++ compiler (g++ or c++)")
    folder = tmp_path_factory.mktemp("pass")
    parts = [(HERE / "stand_in.h").read_text(), source(), (HERE / "stand_in_tail.cc").read_text()]
    (folder / "pass.cc").write_text("\n".join(parts))
    command = [COMPILER, "-O1", "-std=c++17", "-ffp-contract=off", "-fPIC", "-shared"]
    subprocess.run([*command, "-o", folder / "pass.so", folder / "pass.cc"], check=True)
    return ctypes.CDLL(str(folder / "pass.so"))
