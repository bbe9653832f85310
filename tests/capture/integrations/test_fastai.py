"""fastai's Learner, recorded by its callback."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.capture.integrations.data import data, net, same, weights
from torch import Tensor, nn

import actrace

with warnings.catch_warnings():
    # fastai 2.8 imports what torch (jit.script) and pandas (an option) call deprecated.
    warnings.simplefilter("ignore", DeprecationWarning)
    from fastai.basics import Callback, DataLoader, DataLoaders, Learner, set_seed
    from fastai.callback.schedule import lr_find  # noqa: F401  (it patches the Learner)
    from fastai.losses import CrossEntropyLossFlat
    from fastai.metrics import accuracy


def learner(folder: Path, *callbacks: Any, loss_func: Any = None, **more: Any) -> Learner:
    dls = DataLoaders(
        DataLoader(data(48), bs=16, shuffle=True), DataLoader(data(24, 1), bs=12), device="cpu"
    )
    learn = Learner(
        dls, net(), loss_func=loss_func or CrossEntropyLossFlat(), metrics=accuracy,
        cbs=list(callbacks), path=folder, **more,
    )  # fmt: skip
    learn.logger = lambda row: None
    return learn


def test_fits_give_phases_epochs_steps_losses_rates_and_metrics(tmp_path: Path) -> None:
    learn = learner(tmp_path, actrace.FastaiCallback(tmp_path / "run"))
    with learn.no_bar():
        learn.fit(2, lr=1e-2)
        losses = [float(loss) for loss in learn.recorder.losses]
        table = np.array(learn.recorder.values, dtype=float)
        learn.fit_one_cycle(1, 1e-2)
        rates = list(learn.recorder.lrs)
    run = actrace.open(tmp_path / "run")
    train, valid = run["train"], run["valid"]
    assert run.status == "finished"
    assert run["layer"].values.tolist() == ["0", "1", "2", "3"]
    assert train["epoch"].values.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert train["step"].values.tolist() == list(range(9))
    assert train["samples"].values.tolist() == [16] * 9
    assert np.allclose(train["lr"].values[:6], 1e-2)
    assert np.allclose(train["lr"].values[6:], rates)
    assert np.isclose(train["loss"].values[0], losses[0])
    assert valid["epoch"].values.tolist() == [0, 0, 1, 1, 2, 2]
    # fastai's own table stands beside the last batch of its epoch.
    for at, name in enumerate(["train_loss", "valid_loss", "accuracy"]):
        found = valid[name].values
        assert np.isfinite(found).tolist() == [False, True] * 3
        assert np.allclose(found[[1, 3]], table[:, at])
    assert np.allclose(valid["loss"].values.reshape(3, 2).mean(1)[:2], table[:, 1])
    assert run["train/output"]["samples"].values.sum() == 9 * 16
    assert run["valid/output"].attrs["layer"] == "3"


def test_the_same_weights_with_and_without(tmp_path: Path) -> None:
    def fit(*callbacks: Any) -> list[Tensor]:
        set_seed(3)
        learn = learner(tmp_path, *callbacks)
        with learn.no_bar():
            learn.fit_one_cycle(2, 1e-2)
        return [*weights(learn.model), torch.get_rng_state()]

    assert same(fit(), fit(actrace.FastaiCallback(tmp_path / "run")))


def test_validation_and_predictions_after_a_fit_are_of_the_same_run(tmp_path: Path) -> None:
    callback = actrace.FastaiCallback(tmp_path / "run")
    learn = learner(tmp_path, callback, loss_func=nn.CrossEntropyLoss())
    with learn.no_bar():
        learn.fit(1)
        learn.model(torch.zeros(2, 8))  # by hand, and no batch of the run
        learn.validate()
        with callback.attachment.phase("test"):
            learn.get_preds()
    run = actrace.open(tmp_path / "run")
    assert {phase: run.n_batches(phase) for phase in run.phases} == {
        "train": 3, "valid": 4, "test": 2,
    }  # fmt: skip
    assert run["valid"]["step"].values.tolist() == [3, 3, 3, 3]


# fastai 2.8 reads a checkpoint by way of numpy.core, which NumPy calls deprecated.
@pytest.mark.filterwarnings("ignore:.*numpy.core is deprecated:DeprecationWarning")
def test_the_search_for_a_learning_rate_is_not_recorded(tmp_path: Path) -> None:
    learn = learner(tmp_path, actrace.FastaiCallback(tmp_path / "run"))
    with learn.no_bar():
        learn.lr_find(num_it=5, show_plot=False)
    assert not (tmp_path / "run.zarr").exists()
    with learn.no_bar():
        learn.fit(1)
    assert actrace.open(tmp_path / "run").n_batches("train") == 3


@pytest.mark.parametrize("error", [KeyError("the user's own"), KeyboardInterrupt()])
def test_an_error_of_the_users_passes_and_the_run_failed(
    tmp_path: Path, error: BaseException
) -> None:
    class Failing(Callback):
        def before_batch(self) -> None:
            if self.train_iter == 2:
                raise error

    callback = actrace.FastaiCallback(tmp_path / "run")
    learn = learner(tmp_path, callback, Failing())
    with learn.no_bar(), pytest.raises(type(error)):
        learn.fit(1)
    callback.attachment.close()
    run = actrace.open(tmp_path / "run")
    assert (run.status, run.n_batches("train")) == ("failed", 2)


def test_a_saved_learner_is_silent(tmp_path: Path) -> None:
    learn = learner(tmp_path, actrace.FastaiCallback(tmp_path / "run"))
    with learn.no_bar():
        learn.fit(1)
        del learn.logger
        # What Learner.export does.
        torch.save(learn, tmp_path / "learner.pkl")
        again = torch.load(tmp_path / "learner.pkl", weights_only=False)
        again.logger = print
        with again.no_bar():
            again.validate()
    assert actrace.open(tmp_path / "run").n_batches("valid") == 2
