"""What the integrations share: names, numbers, copies, and packages that are missing."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from actrace.capture.integrations.attachment import Attachment, number, safe_name
from actrace.errors import ActraceWarning, RecorderError
from actrace.store.schema import check_name


@given(st.text())
def test_any_name_of_a_host_becomes_one_that_the_store_takes(name: str) -> None:
    assert check_name(safe_name(name), "logged variable")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (2, 2.0), (True, 1.0), (np.float32(0.5), 0.5), (np.array([3]), 3.0),
        (torch.tensor(0.25, requires_grad=True), 0.25), (torch.tensor([1.0, 2.0]), None),
        (torch.tensor(1.0, device="meta"), None), ("0.5", None), (None, None), (1j, None),
        (np.array(["a"]), None),
    ],
)  # fmt: skip
def test_numbers_are_taken_and_anything_else_left(value: object, expected: float | None) -> None:
    assert number(value) == expected


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"schedul": None}, "did you mean 'schedule'"),
        ({"model": 2}, "is no setting"),
        ({"config": {"a": torch}}, "cannot be kept as JSON"),
        ({"task": "guess"}, "task must be one of"),
        ({"resume": True, "overwrite": True}, "exclude each other"),
    ],
)
def test_settings_are_checked_before_there_is_a_model(
    settings: dict[str, object], words: str
) -> None:
    with pytest.raises(RecorderError, match=words):
        Attachment("run", settings)


def test_a_fault_of_ours_is_said_and_stays_in() -> None:
    attachment = Attachment("run", {})
    with (
        pytest.warns(ActraceWarning, match="reading failed: ValueError: x. The training goes on"),
        attachment.harmless("reading"),
    ):
        raise ValueError("x")
    with pytest.raises(KeyboardInterrupt), attachment.harmless("reading"):
        raise KeyboardInterrupt


def test_a_copy_is_silent(tmp_path: Path) -> None:
    attachment = Attachment(tmp_path / "run", {})
    for one in (copy.copy(attachment), copy.deepcopy(attachment)):
        one.attach(torch.nn.Linear(2, 2), held=True)
        assert not one.recording
    assert not (tmp_path / "run.zarr").exists()


@pytest.mark.parametrize(
    ("package", "name"),
    [
        ("accelerate", "record_accelerate"),
        ("fastai", "FastaiCallback"),
        ("keras", "KerasCallback"),
        ("lightning", "LightningCallback"),
        ("transformers", "TransformersCallback"),
    ],
)
def test_a_missing_package_is_named_with_the_line_that_installs_it(package: str, name: str) -> None:
    code = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ({package!r}, "pytorch_lightning"):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
import actrace
try:
    actrace.{name}
except actrace.errors.MissingDependencyError as error:
    print(error)
"""
    code = code.replace("import actrace\n", "import actrace, actrace.errors\n")
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.strip() == (
        f'{package} is not installed; run pip install "actrace[{package}]"'
    ), done.stderr
