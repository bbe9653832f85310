"""What PyTorch does to hooks, set up for real, and what the recorder makes of it."""

from __future__ import annotations

import copy
import io
import pickle
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.capture.models import MLP, LSTMNet, TransformerNet, digits
from torch import nn
from torch.nn.utils.rnn import pack_sequence
from torch.utils.checkpoint import checkpoint

import actrace
from actrace.capture.kernels.fused import FusedKernel
from actrace.errors import ActraceWarning


def rows(path: Path, phase: str = "train") -> dict[str, tuple[int, int]]:
    """Return (calls, elements) over all batches, by layer."""
    found = actrace.open(path)[phase].to_dataset()[["calls", "elements"]].sum("batch")
    return {
        str(layer): (int(found["calls"][at]), int(found["elements"][at]))
        for at, layer in enumerate(found["layer"].values)
    }


class Fails(nn.Module):
    def __init__(self, error: type[BaseException]) -> None:
        super().__init__()
        self.first = nn.Linear(64, 4)
        self.last = nn.Linear(4, 4)
        self.error = error
        self.fail = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.first(x.flatten(1))
        if self.fail:
            raise self.error
        return self.last(hidden)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_half_a_batch_is_dropped_when_the_forward_fails(
    tmp_path: Path, error: type[BaseException]
) -> None:
    model = Fails(error)
    with actrace.record(model, tmp_path / "run") as recorder:
        for fail in (False, True, False, True):
            model.fail = fail
            if fail:
                with pytest.raises(error):
                    model(digits(4)[0])
            else:
                model(digits(4)[0])
    assert rows(tmp_path / "run") == {"first": (2, 32), "last": (2, 32)}
    assert recorder.report().batches == {"train": 2}


def test_a_first_forward_that_fails_leaves_the_layers_to_the_next(tmp_path: Path) -> None:
    model = Fails(ValueError)
    model.fail = True
    with actrace.record(model, tmp_path / "run"):
        with pytest.raises(ValueError):
            model(digits(4)[0])
        model.fail = False
        model(digits(4)[0])
    run = actrace.open(tmp_path / "run")
    assert run.layer.values.tolist() == ["first", "last"]
    assert run["layer_order"].values.tolist() == [0, 1]
    assert rows(tmp_path / "run") == {"first": (1, 16), "last": (1, 16)}


def test_a_fault_of_the_recorder_switches_one_layer_off_and_the_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = MLP()
    real = FusedKernel.add

    def sometimes(self: FusedKernel, tensor: object, shape: object, slot: object) -> None:
        if shape[2] == 32 and getattr(self, "broken", False):  # type: ignore[index]
            raise RuntimeError("boom")
        real(self, tensor, shape, slot)  # type: ignore[arg-type]

    with actrace.record(model, tmp_path / "run", layers=["1", "4"]) as recorder:
        model(digits(4)[0])
        monkeypatch.setattr(FusedKernel, "broken", True, raising=False)
        monkeypatch.setattr(FusedKernel, "add", sometimes)
        with pytest.warns(ActraceWarning, match="'1' is no longer recorded.*boom") as caught:
            model(digits(4)[0])
        assert len(caught) == 1
        for _ in range(2):
            assert model(digits(4)[0]).shape == (4, 10)
    assert rows(tmp_path / "run") == {"1": (1, 128), "4": (4, 160)}
    assert "boom" in recorder.report().skipped["1"]
    assert "boom" in actrace.open(tmp_path / "run").attrs["skipped"]["1"]


def test_a_fault_while_sealing_loses_the_batch_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = MLP()
    with actrace.record(model, tmp_path / "run") as recorder:
        model(digits(4)[0])
        model(digits(4)[0])
        table = recorder._session.table
        with monkeypatch.context() as patch:
            patch.setattr(table, "apart", lambda: 1 / 0)
            with pytest.warns(ActraceWarning, match="sealing a batch failed: ZeroDivisionError"):
                model(digits(4)[0])
        model(digits(4)[0])
    assert recorder.report().lost == {"train": 1}
    assert actrace.open(tmp_path / "run").lost_batches == {"train": 1}
    assert actrace.open(tmp_path / "run").n_batches("train") == 3


def test_a_fault_on_the_writer_s_side_is_said_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = MLP()
    with actrace.record(model, tmp_path / "run") as recorder:
        for _ in range(5):
            model(digits(4)[0])
        with monkeypatch.context() as patch:
            patch.setattr(recorder._session.outbox._digest, "_take", lambda *_: 1 / 0)
            with pytest.warns(ActraceWarning, match="met a fault: ZeroDivisionError"):
                recorder.flush()
        for _ in range(3):
            model(digits(4)[0])
    run = actrace.open(tmp_path / "run")
    assert run.lost_batches == recorder.report().lost == {"train": 5}
    assert run["train"]["step"].values.tolist() == [5, 6, 7]
    assert (run["train"]["calls"] == 1).all()
    # Windows hold whole batches only.
    assert int(run["train/unit"]["batches"].sum()) == 3


def test_copies_and_pickles_of_a_recorded_model_work_and_are_silent(tmp_path: Path) -> None:
    model, loss_fn = MLP(), nn.CrossEntropyLoss()
    with actrace.record(model, tmp_path / "run", criterion=loss_fn):
        x, y = digits(4)
        loss_fn(model(x), y)
        buffer = io.BytesIO()
        torch.save(model, buffer)
        buffer.seek(0)
        for twin in (
            copy.deepcopy(model),
            pickle.loads(pickle.dumps(model)),
            torch.load(buffer, weights_only=False),
        ):
            twin.eval()
            model.eval()
            assert torch.equal(twin(x), nn.Sequential.forward(model, x))
        copy.deepcopy(loss_fn)(nn.Sequential.forward(model, x), y)
    assert actrace.open(tmp_path / "run").n_batches("train") == 1
    assert "valid" not in actrace.open(tmp_path / "run").phases


def test_a_pickled_model_names_nothing_of_the_recorder(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    with actrace.record(model, tmp_path / "run"):
        model(torch.zeros(1, 2))
        assert b"actrace" not in pickle.dumps(model)


def test_outputs_of_many_tensors_have_a_row_for_each(tmp_path: Path) -> None:
    model = LSTMNet()
    with actrace.record(model, tmp_path / "run"):
        model(digits(4)[0])
    run = actrace.open(tmp_path / "run")
    assert run.layer.values.tolist() == ["lstm[0]", "lstm[1][0]", "lstm[1][1]", "head"]
    assert run["layer_units"].values.tolist() == [12, 12, 12, 10]
    assert run["layer_shape"].values.tolist() == ["8x12", "4x12", "4x12", "10"]


def test_a_packed_sequence_is_its_values(tmp_path: Path) -> None:
    model = nn.LSTM(3, 5)
    with actrace.record(model, tmp_path / "run"):
        model(pack_sequence([torch.zeros(4, 3), torch.zeros(2, 3)]))
    assert rows(tmp_path / "run")["LSTM[0]"] == (1, 30)


def test_a_root_that_is_a_leaf_is_recorded_under_its_class(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    with actrace.record(model, tmp_path / "run"):
        model(torch.zeros(4, 3))
    run = actrace.open(tmp_path / "run")
    assert rows(tmp_path / "run") == {"Linear": (1, 8)}
    assert run.attrs["output_layer"] == "Linear"


def test_layers_never_called_keep_their_rows_and_are_reported(tmp_path: Path) -> None:
    class Partly(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used = nn.Linear(64, 2)
            self.unused = nn.Linear(2, 2)
            self.empty = nn.ModuleList()
            self.late = nn.ReLU()
            self.twice = False

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out = self.used(x.flatten(1))
            return self.late(out) if self.twice else out

    model = Partly()
    with actrace.record(model, tmp_path / "run") as recorder:
        model(digits(4)[0])
        assert recorder.report().never_fired == ("unused", "empty", "late")
        model.twice = True
        model(digits(4)[0])
    run = actrace.open(tmp_path / "run")
    assert rows(tmp_path / "run") == {
        "used": (2, 16),
        "unused": (0, 0),
        "empty": (0, 0),
        "late": (1, 8),
    }
    assert run["layer_order"].values.tolist() == [0, -1, -1, -1]
    assert np.isfinite(run["train"]["death_rate"].sel(layer="late")[1])
    assert "first called after" in recorder.report().skipped["late"]


def test_a_leaf_that_appears_later_is_skipped_with_its_reason(tmp_path: Path) -> None:
    class Grows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.emit = Emit()

        def forward(self, x: torch.Tensor, extra: bool) -> object:
            return self.emit(x, extra)

    class Emit(nn.Module):
        def forward(self, x: torch.Tensor, extra: bool) -> object:
            return (x, x) if extra else (x,)

    model = Grows()
    with actrace.record(model, tmp_path / "run") as recorder:
        model(torch.ones(2, 3), False)
        model(torch.ones(2, 3), True)
    assert rows(tmp_path / "run") == {"emit[0]": (2, 12)}
    assert "fixes the layers" in recorder.report().skipped["emit[1]"]


def test_what_cannot_be_counted_is_skipped_with_its_reason(tmp_path: Path) -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.complex, self.sparse, self.text = Apply(), Apply(), Apply()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.complex(torch.fft.fft(x))
            self.sparse(x.to_sparse())
            self.text("text")
            return x

    class Apply(nn.Module):
        def forward(self, x: object) -> object:
            return x

    model = Odd()
    with actrace.record(model, tmp_path / "run") as recorder:
        model(torch.ones(2, 3))
    skipped = actrace.open(tmp_path / "run").attrs["skipped"]
    assert "complex64" in skipped["complex"]
    assert "sparse" in skipped["sparse"]
    assert "str without a tensor" in skipped["text"]
    assert recorder.report().skipped == skipped


def test_functorch_transforms_are_skipped_and_still_work(tmp_path: Path) -> None:
    model = MLP().eval()
    x = digits(4)[0]
    weights = dict(model.named_parameters())
    want = model(x)
    with actrace.record(model, tmp_path / "run") as recorder:
        got = torch.vmap(
            lambda one: torch.func.functional_call(model, weights, one.unsqueeze(0)).squeeze(0)
        )(x)
    torch.testing.assert_close(got, want)
    assert "functorch" in recorder.report().skipped["1"]


def test_checkpointing_counts_a_layer_once(tmp_path: Path) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Linear(64, 8), nn.ReLU())
            self.head = nn.Linear(8, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(checkpoint(self.body, x.flatten(1), use_reentrant=False))

    model = Net()
    with actrace.record(model, tmp_path / "run"):
        for _ in range(2):
            model(digits(4)[0]).sum().backward()
            checkpoint(model, digits(4)[0], use_reentrant=False).sum().backward()
    assert {calls for calls, _ in rows(tmp_path / "run").values()} == {4}
    assert actrace.open(tmp_path / "run").n_batches("train") == 4


def test_a_model_that_calls_itself_is_one_batch(tmp_path: Path) -> None:
    class Again(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(8, 8)

        def forward(self, x: torch.Tensor, depth: int = 2) -> torch.Tensor:
            out = self.fc(x)
            return self(out, depth - 1) if depth else out

    model = Again()
    with actrace.record(model, tmp_path / "run"):
        model(torch.ones(2, 8))
        model(torch.ones(2, 8))
    assert rows(tmp_path / "run") == {"fc": (6, 96)}
    assert actrace.open(tmp_path / "run").n_batches("train") == 2


def test_layers_called_outside_a_forward_of_the_model_are_not_recorded(tmp_path: Path) -> None:
    model = MLP()
    with actrace.record(model, tmp_path / "run"):
        model(digits(4)[0])
        model[1](torch.zeros(4, 64))
    assert rows(tmp_path / "run")["1"] == (1, 128)


def test_a_forward_in_another_thread_leaves_the_batch_alone(tmp_path: Path) -> None:
    gate, go = threading.Event(), threading.Event()

    class Slow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(64, 2)

        def forward(self, x: torch.Tensor, wait: bool) -> torch.Tensor:
            if wait:
                go.set()
                assert gate.wait(30)
            return self.fc(x.flatten(1))

    model = Slow()
    with actrace.record(model, tmp_path / "run") as recorder:
        thread = threading.Thread(target=lambda: model(digits(4)[0], True))
        thread.start()
        assert go.wait(30)
        with pytest.warns(ActraceWarning, match="another thread"):
            model(digits(4)[0], False)
        gate.set()
        thread.join()
    assert rows(tmp_path / "run") == {"fc": (1, 8)}
    assert recorder.report().batches == {"train": 1}


def test_lazy_modules_are_resolved_at_their_first_call(tmp_path: Path) -> None:
    model = nn.Sequential(nn.LazyConv2d(4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))
    with actrace.record(model, tmp_path / "run"):
        model(torch.randn(2, 1, 8, 8))
    run = actrace.open(tmp_path / "run")
    assert run["layer_units"].values.tolist() == [4, 4, 144, 2]


def test_inference_mode_and_autocast_are_recorded(tmp_path: Path) -> None:
    model = MLP()
    with actrace.record(model, tmp_path / "run") as recorder:
        with torch.inference_mode():
            model(digits(4)[0])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = model(digits(4)[0])
        model(digits(4)[0]).sum().backward()
    assert out.dtype is torch.bfloat16
    assert recorder.report().remarks == ()
    assert {calls for calls, _ in rows(tmp_path / "run").values()} == {3}


def test_a_units_number_that_changes_leaves_the_unit_group_with_a_reason(tmp_path: Path) -> None:
    model = nn.Sequential(nn.ReLU(), nn.Identity())
    with actrace.record(model, tmp_path / "run") as recorder:
        for width in (5, 5, 7):
            model(torch.ones(2, width))
        recorder.flush()
    run = actrace.open(tmp_path / "run")
    assert int(run["train/unit"]["active"].sum()) == 2 * 2 * 5 * 2
    assert run["train"]["activation_rate"].values.tolist() == [[1.0] * 3] * 2
    assert "changed from 5 to 7" in recorder.report().skipped["0"]


def test_a_layer_with_too_many_units_still_has_rates(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Flatten(), nn.ReLU())
    x = torch.zeros(2, 70_000)
    x[:, ::2] = 1
    with actrace.record(model, tmp_path / "run") as recorder:
        model(x)
    run = actrace.open(tmp_path / "run")
    assert "70000 are more than 65536" in recorder.report().skipped["1"]
    assert run["layer_units"].values.tolist() == [0, 0]
    assert float(run["train"]["death_rate"][1, 0]) == 0.5


def test_units_of_an_ambiguous_layer_follow_the_layer_before_even_if_not_recorded(
    tmp_path: Path,
) -> None:
    model = nn.Sequential(nn.Conv1d(3, 6, 3), nn.ReLU())
    with actrace.record(model, tmp_path / "run", layers=nn.ReLU):
        model(torch.randn(2, 3, 9))
    assert actrace.open(tmp_path / "run")["layer_units"].values.tolist() == [6]


def test_hooks_on_a_transformer_see_its_submodules(tmp_path: Path) -> None:
    model = TransformerNet().eval()
    with actrace.record(model, tmp_path / "run"), torch.no_grad():
        model(digits(4)[0])
    found = rows(tmp_path / "run", "valid")
    assert found["encoder.linear1"][0] == 1
    # The attention calls its projection as a function: no hook sees it.
    assert found["encoder.self_attn.out_proj"] == (0, 0)


def test_keyword_only_calls_and_nested_inputs_are_counted_in_samples(tmp_path: Path) -> None:
    class Keywords(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3, 2)

        def forward(self, *, batch: dict[str, torch.Tensor]) -> torch.Tensor:
            return self.fc(batch["x"])

    model = Keywords()
    with actrace.record(model, tmp_path / "run"):
        model(batch={"x": torch.ones(7, 3)})
    assert actrace.open(tmp_path / "run")["train"]["samples"].values.tolist() == [7]


def test_two_recorders_on_one_model_do_not_meet(tmp_path: Path) -> None:
    model = MLP()
    with actrace.record(model, tmp_path / "a"), actrace.record(model, tmp_path / "b", layers="4"):
        model(digits(4)[0])
    assert len(rows(tmp_path / "a")) == 5
    assert rows(tmp_path / "b") == {"4": (1, 40)}


def test_layers_that_cannot_be_read_are_said_once_after_the_first_batch(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU()).to("meta")
    x = torch.zeros(5, 4, device="meta")
    with actrace.record(model, tmp_path / "run") as recorder:
        with pytest.warns(ActraceWarning, match="2 of 2 layers cannot be recorded.*'0': a meta"):
            model(x)
        model(x)
    assert len(recorder.report().remarks) == 1
    assert (actrace.open(tmp_path / "run")["train"]["elements"].values == 0).all()
