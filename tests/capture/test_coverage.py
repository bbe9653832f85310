"""The coverage report: what fired, what never did, aliases, other names, wrappers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.capture.models import MLP, ConvNet, digits
from torch import nn
from torch.nn.utils import parametrizations
from torch.nn.utils.parametrizations import orthogonal, spectral_norm, weight_norm
from torch.optim.swa_utils import AveragedModel

import actrace
from actrace.errors import ActraceWarning


def test_layers_that_hand_on_their_input_are_named(tmp_path: Path) -> None:
    model = nn.Sequential(
        nn.Linear(4, 4),
        nn.ReLU(inplace=True),
        nn.Identity(),
        nn.Unflatten(1, (2, 2)),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.ReLU(),
    ).eval()
    with actrace.record(model, tmp_path / "run") as recorder:
        model(torch.randn(3, 4))
    aliases = recorder.report().aliases
    assert aliases == {
        "1": "its input",
        "2": "its input",
        "3": "a view of its input",
        "4": "a view of its input",
        "5": "its input",
    }
    assert actrace.open(tmp_path / "run").attrs["coverage"]["aliases"] == aliases


def test_a_module_under_two_names_has_one_row_and_tells_the_other(tmp_path: Path) -> None:
    act = nn.ReLU()
    model = nn.Sequential(nn.Linear(4, 4), act, nn.Linear(4, 4), act)
    with actrace.record(model, tmp_path / "run") as recorder:
        model(torch.randn(3, 4))
    assert recorder.report().shared == {"1": ("3",)}
    run = actrace.open(tmp_path / "run")
    assert run.layer.values.tolist() == ["0", "1", "2"]
    assert run["train"]["calls"].values[:, 0].tolist() == [1, 2, 1]


def test_the_coverage_is_in_the_store_after_the_first_batch(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ModuleList([]), nn.Linear(4, 4))
    model.forward = model[0].forward  # type: ignore[method-assign]
    with actrace.record(model, tmp_path / "run") as recorder:
        model(torch.randn(3, 4))
        recorder.flush()
        assert actrace.open(tmp_path / "run").attrs["coverage"]["never_fired"] == ["0", "1", "2"]


def test_the_log_and_the_run_say_what_is_recorded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Calls(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.unused = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(self.fc(x))

    model = Calls()
    with caplog.at_level("INFO", logger="actrace"), actrace.record(model, tmp_path / "run"):
        for _ in range(2):
            model(torch.randn(3, 4))
    first, last = [record.getMessage() for record in caplog.records]
    assert first.startswith("first batch: 1 of 2 layers fired, 0 skipped, 1 functions unseen")
    assert "2 batches" in last
    run = actrace.open(tmp_path / "run")
    assert run.attrs["coverage"]["seconds"]["fc"] > 0
    assert "silent   unused" in repr(run)
    assert "unseen   relu()" in repr(run)


def test_what_torch_wraps_around_a_layer_is_not_in_its_name(tmp_path: Path) -> None:
    plain = [name for name, _ in ConvNet().named_children()]
    for at, wrapped in enumerate(
        (
            torch.compile(ConvNet(), backend="eager"),
            nn.DataParallel(ConvNet()),
            AveragedModel(ConvNet()),
            torch.compile(nn.DataParallel(ConvNet()), backend="eager"),
        )
    ):
        with actrace.record(wrapped, tmp_path / f"run{at}") as recorder:  # type: ignore[arg-type]
            wrapped(digits(4)[0])
        run = actrace.open(tmp_path / f"run{at}")
        assert run.layer.values.tolist() == plain
        assert run.attrs["output_layer"] == "fc"
        assert recorder.report().batches == {"train": 1}
        torch.compiler.reset()


def test_a_parametrized_layer_is_the_layer(tmp_path: Path) -> None:
    model = nn.Sequential(
        weight_norm(nn.Linear(4, 4)), orthogonal(nn.Linear(4, 4)), spectral_norm(nn.Conv1d(2, 3, 1))
    )
    model.forward = lambda x: model[2](model[1](model[0](x)).view(-1, 2, 2))  # type: ignore[method-assign]
    with actrace.record(model, tmp_path / "run", layers="*"):
        model(torch.randn(3, 4))
    run = actrace.open(tmp_path / "run")
    assert run.layer.values.tolist() == ["Sequential", "0", "1", "2"]
    assert run["layer_type"].values.tolist()[1:] == ["Linear", "Linear", "Conv1d"]
    assert run["layer_units"].values.tolist() == [3, 4, 4, 3]


def test_a_checkpoint_wrapper_is_not_in_a_layers_name(tmp_path: Path) -> None:
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

    model = nn.Sequential(nn.Flatten(), checkpoint_wrapper(nn.Linear(64, 8)), nn.Linear(8, 2))
    with actrace.record(model, tmp_path / "run"):
        model(digits(4)[0].requires_grad_()).sum().backward()
    run = actrace.open(tmp_path / "run")
    assert run.layer.values.tolist() == ["0", "1", "2"]
    assert run["layer_type"].values.tolist() == ["Flatten", "Linear", "Linear"]
    assert run["train"]["calls"].values[:, 0].tolist() == [1, 1, 1]


def test_replicas_in_many_threads_are_added_up(tmp_path: Path) -> None:
    """DataParallel on GPUs calls copies of its module, each in a thread of its own."""
    import threading

    class Parallel(nn.DataParallel):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            parts = x.chunk(4)
            outputs: list[torch.Tensor | None] = [None] * 4
            copies = [_replica(self.module) for _ in parts]

            def run(at: int) -> None:
                outputs[at] = copies[at](parts[at])

            threads = [threading.Thread(target=run, args=(at,)) for at in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            return torch.cat([part for part in outputs if part is not None])

    torch.manual_seed(0)
    inner = MLP().eval()
    x = digits(64)[0]
    with actrace.record(inner, tmp_path / "alone"):
        for _ in range(5):
            inner(x)
    parallel = Parallel(inner).eval()
    with actrace.record(parallel, tmp_path / "parallel") as recorder:
        for _ in range(5):
            parallel(x)
    assert recorder.report().remarks == ()
    alone, many = (actrace.open(tmp_path / name)["valid"] for name in ("alone", "parallel"))
    assert (many["calls"].values == 4).all()
    for name in ("count", "elements", "zero"):
        assert (alone[name].values == many[name].values).all()


def test_replicas_of_a_model_that_was_recorded_itself_are_refused_in_words(tmp_path: Path) -> None:
    model = MLP().eval()
    with actrace.record(model, tmp_path / "run") as recorder:
        model(digits(4)[0])
        with pytest.warns(ActraceWarning, match="record the DataParallel itself"):
            _replica(model)(digits(4)[0])
        _replica(model)(digits(4)[0])
    assert recorder.report().batches == {"valid": 1}


def _replica(module: nn.Module) -> nn.Module:
    """Copy a module as torch.nn.parallel.replicate does."""
    copy = module._replicate_for_data_parallel()
    copy._parameters = dict(module._parameters)  # type: ignore[assignment]
    copy._modules = {  # type: ignore[assignment]
        name: None if child is None else _replica(child) for name, child in module._modules.items()
    }
    return copy


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
def test_a_parametrised_layer_keeps_its_name_and_is_a_leaf(tmp_path: Path, late: bool) -> None:
    model = nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 4), nn.Linear(4, 4))

    def parametrise() -> None:
        parametrizations.weight_norm(model[0])
        parametrizations.orthogonal(model[1])
        parametrizations.spectral_norm(model[2])

    if not late:
        parametrise()
    with actrace.record(model, tmp_path / "run"):
        if late:
            parametrise()
        model(torch.randn(2, 8))
    train = actrace.open(tmp_path / "run")["train"].to_dataset().load()
    assert train["layer"].values.tolist() == ["0", "1", "2"]
    assert train["elements"].values.tolist() == [[8], [8], [8]]
