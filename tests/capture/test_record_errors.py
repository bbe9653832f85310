"""Every bad request is refused before the model or the disk is touched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from tests.capture.models import MLP, digits
from torch import nn
from torch.nn import functional as F

import actrace
from actrace.errors import RecorderError, RunExistsError, RunLockedError, StoreWriteError


def untouched(model: nn.Module) -> bool:
    return not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"layers": "convv*"}, "'convv\\*' matches no layer"),
        ({"layers": nn.LSTM}, "no LSTM"),
        ({"axis": [1, 2, 3]}, "axis must be"),
        ({"criterion": F.cross_entropy}, r"cross_entropy.*recorder\.log"),
        ({"criterion": torch.jit.ScriptModule()}, "takes hooks"),
        ({"schedule": 10}, "schedule must be a function of the step"),
        ({"schedule": {"train": 3}}, r"schedule\['train'\] must be a function"),
        ({"layer_schedule": [3]}, "layer_schedule must map name patterns"),
        ({"layer_schedule": {"fc": 3}}, r"layer_schedule\['fc'\] must be a function"),
        ({"functional": 1}, "functional must be True or False"),
        ({"active_threshold": -1}, "active_threshold must be"),
        ({"flush_seconds": "soon"}, "flush_seconds must be"),
        ({"classes": 3, "task": "regression"}, "no classes"),
        ({"classes": 3, "task": "binary"}, "2 classes"),
        ({"task": "guess"}, "task must be one of"),
        ({"output": "heat"}, "'heat' is no module"),
        ({"config": [1]}, "config must be a mapping"),
        ({"config": {"f": object()}}, r"config\['f'\] cannot be kept"),
        ({"tags": "a"}, "tags must be a list"),
        ({"tags": [1]}, "tags must be a list"),
        ({"kernel": "cuda"}, "no kernel 'cuda'"),
        ({"durability": "eternal"}, "durability must be"),
        ({"resume": True, "overwrite": True}, "exclude each other"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_bad_argument_is_refused(
    tmp_path: Path, arguments: dict[str, object], words: str
) -> None:
    model = MLP()
    with pytest.raises(RecorderError, match=words):
        actrace.record(model, tmp_path / "run", **arguments)  # type: ignore[arg-type]
    assert untouched(model)
    assert not list(tmp_path.iterdir())


def test_a_function_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(RecorderError, match=r"torch\.nn\.Module, got function"):
        actrace.record(lambda x: x, tmp_path / "run")  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_scripted_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecorderError, match="ScriptModule refuses hooks"):
        actrace.record(torch.jit.script(nn.Linear(2, 2)), tmp_path / "run")


def test_a_run_that_stands_is_never_touched_unasked(tmp_path: Path) -> None:
    model = MLP()
    with actrace.record(model, tmp_path / "run"):
        model(digits(4)[0])
    with pytest.raises(RunExistsError, match="resume=True"):
        actrace.record(model, tmp_path / "run")
    assert untouched(model)
    with actrace.record(model, tmp_path / "run", overwrite=True):
        model(digits(4)[0])
        model(digits(4)[0])
    assert actrace.open(tmp_path / "run").n_batches("train") == 2


def test_a_run_that_is_being_recorded_is_not_resumed(tmp_path: Path) -> None:
    model = MLP()
    with actrace.record(model, tmp_path / "run"):
        model(digits(4)[0])
        with pytest.raises(RunLockedError):
            actrace.record(MLP(), tmp_path / "run", resume=True)


def test_a_file_in_the_way_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "run.zarr").write_text("mine")
    for how in ({}, {"overwrite": True}):
        with pytest.raises(RunExistsError):
            actrace.record(MLP(), tmp_path / "run", **how)  # type: ignore[arg-type]
    assert (tmp_path / "run.zarr").read_text() == "mine"


def test_a_directory_that_cannot_be_written_is_an_error_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    model = MLP()
    with pytest.raises(StoreWriteError):
        actrace.record(model, tmp_path / "file" / "run")
    if os.geteuid() != 0:  # root may write anywhere
        tmp_path.chmod(0o500)
        with pytest.raises(StoreWriteError):
            actrace.record(model, tmp_path / "run")
        tmp_path.chmod(0o700)
    assert untouched(model)
