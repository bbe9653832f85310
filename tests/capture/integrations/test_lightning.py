"""Lightning's Trainer, recorded by its callback."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch
import torchmetrics
from lightning.pytorch.plugins.precision import MixedPrecision
from tests.capture.integrations.data import data, net, same, weights
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

import actrace
from actrace.errors import RecorderError

pytestmark = [
    # Lightning's advice on data loaders, on logging in short epochs, on devices.
    pytest.mark.filterwarnings("ignore:The '.*dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:The number of training batches"),
    pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no"),
    # Lightning 2.6 calls what torch 2.13 calls deprecated.
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*"),
]


class Classifier(lightning.LightningModule):
    """Calls a part of itself, never its own forward, and logs as Lightning's users do."""

    def __init__(self, *, functional: bool = False, fail_at: int = -1) -> None:
        super().__init__()
        self.net = net()
        self.loss_fn = nn.CrossEntropyLoss()
        self.accuracy = torchmetrics.Accuracy("multiclass", num_classes=3)
        self.functional, self.fail_at = functional, fail_at

    def loss(self, batch: Any) -> Tensor:
        x, y = batch
        logits = self(x) if self.functional else self.net(x)
        self.accuracy(logits, y)
        return F.cross_entropy(logits, y) if self.functional else self.loss_fn(logits, y)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        if batch_idx == self.fail_at:
            raise KeyError("the user's own")
        loss = self.loss(batch)
        self.log("train/loss", loss)
        self.log("epoch_loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.loss(batch)
        self.log("val/loss", loss)
        self.log("val/acc", self.accuracy)
        return loss

    def test_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.loss(batch)

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self(batch[0])

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(
            [
                {"params": self.net[0].parameters()},
                {"params": self.net[3].parameters(), "lr": 0.01},
            ],
            lr=0.1,
        )
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }


def loader(seed: int = 0) -> DataLoader[Any]:
    return DataLoader(data(48, seed), batch_size=16)


def trainer(folder: Path, *callbacks: Any, epochs: int = 2, **more: Any) -> lightning.Trainer:
    return lightning.Trainer(
        max_epochs=epochs, accelerator="cpu", callbacks=list(callbacks), logger=False,
        enable_checkpointing=more.pop("enable_checkpointing", False),
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder, **more,
    )  # fmt: skip


def test_a_fit_gives_phases_epochs_steps_losses_rates_and_metrics(tmp_path: Path) -> None:
    losses: list[float] = []

    class Watch(lightning.Callback):
        def on_train_batch_end(self, *args: Any) -> None:
            losses.append(float(args[2]["loss"]))

    callback = actrace.LightningCallback(tmp_path / "run")
    trainer(tmp_path, callback, Watch()).fit(Classifier(), loader(), loader(1))
    run = actrace.open(tmp_path / "run")
    assert run.status == "finished"
    assert list(run["layer"].values) == ["net.0", "net.1", "net.2", "net.3"]
    train, valid = run["train"], run["valid"]
    assert train["epoch"].values.tolist() == [0, 0, 0, 1, 1, 1]
    assert train["step"].values.tolist() == [0, 1, 2, 3, 4, 5]
    assert train["samples"].values.tolist() == [16] * 6
    assert train["loss"].values.tolist() == losses
    assert train["train_loss"].values.tolist() == losses
    assert train["global_step"].values.tolist() == [0, 1, 2, 3, 4, 5]
    assert np.allclose(train["lr"].values, 0.1 * 0.5 ** np.arange(6))
    assert np.allclose(train["lr_1"].values, 0.01 * 0.5 ** np.arange(6))
    assert (train["calls"].values == 1).all()
    assert valid["epoch"].values.tolist() == [0, 0, 0, 1, 1, 1]
    assert valid["step"].values.tolist() == [3, 3, 3, 6, 6, 6]
    assert np.isfinite(valid["loss"].values).all()
    # What is known at the end of a validation stands beside its last batch.
    known = np.isfinite(valid["val_acc"].values)
    assert known.tolist() == [False, False, True] * 2
    mean = valid["loss"].values.reshape(2, 3).mean(1)
    assert np.allclose(valid["val_loss"].values[known], mean)
    # So does what is known of a training epoch only after it.
    means = train["loss"].values.reshape(2, 3).mean(1)
    assert np.allclose(valid["epoch_loss"].values[[2, 5]], means)
    assert run["train/output"]["samples"].values.sum() == 96
    assert run["train/output"].attrs["layer"] == "net.3"


def test_a_functional_loss_needs_to_be_told_the_target(tmp_path: Path) -> None:
    callback = actrace.LightningCallback(tmp_path / "run", target=lambda batch: batch[1])
    trainer(tmp_path, callback, epochs=1).fit(Classifier(functional=True), loader(), loader(1))
    run = actrace.open(tmp_path / "run")
    assert run["train/output"]["samples"].values.sum() == 48
    assert run["valid/output"]["samples"].values.sum() == 48
    assert np.isfinite(run["train"]["loss"].values).all()


def test_the_same_weights_with_and_without(tmp_path: Path) -> None:
    def fit(*callbacks: Any) -> list[Tensor]:
        torch.manual_seed(3)
        model = Classifier()
        trainer(tmp_path, *callbacks).fit(model, loader(), loader(1))
        return [*weights(model), torch.get_rng_state()]

    assert same(fit(), fit(actrace.LightningCallback(tmp_path / "run")))


def test_a_test_after_the_fit_is_of_the_same_run(tmp_path: Path) -> None:
    callback, model = actrace.LightningCallback(tmp_path / "run"), Classifier()
    used = trainer(tmp_path, callback, epochs=1)
    used.fit(model, loader(), loader(1))
    model(torch.zeros(2, 8))  # by hand, and no batch of the run
    used.test(model, loader(2), verbose=False)
    used.validate(model, loader(2), verbose=False)
    with callback.attachment.phase("holdout"):
        used.validate(model, loader(2), verbose=False)
    used.predict(model, loader(2))
    run = actrace.open(tmp_path / "run")
    counts = {phase: run.n_batches(phase) for phase in run.phases}
    assert counts == {"train": 3, "valid": 6, "test": 3, "holdout": 3, "predict": 3}
    assert run["test"]["step"].values.tolist() == [3, 3, 3]
    assert run["test/output"]["samples"].values.sum() == 48


def test_accumulated_batches_are_batches_and_their_losses_whole(tmp_path: Path) -> None:
    callback = actrace.LightningCallback(tmp_path / "run")
    used = trainer(tmp_path, callback, epochs=1, accumulate_grad_batches=2)
    used.fit(Classifier(), DataLoader(data(64), batch_size=16))
    train = actrace.open(tmp_path / "run")["train"]
    assert train["step"].values.tolist() == [0, 1, 2, 3]
    assert train["global_step"].values.tolist() == [0, 0, 1, 1]
    assert np.allclose(train["loss"].values, train["train_loss"].values)


def test_a_restored_training_goes_on_where_it_was(tmp_path: Path) -> None:
    path, model = tmp_path / "run", Classifier()
    first = trainer(tmp_path, actrace.LightningCallback(path), epochs=1)
    first.fit(model, loader())
    first.save_checkpoint(tmp_path / "at.ckpt")
    callback = actrace.LightningCallback(path, resume=True)
    trainer(tmp_path, callback, epochs=2).fit(model, loader(), ckpt_path=tmp_path / "at.ckpt")
    train = actrace.open(path)["train"]
    assert train["step"].values.tolist() == [0, 1, 2, 3, 4, 5]
    assert train["epoch"].values.tolist() == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("error", [KeyError("the user's own"), KeyboardInterrupt()])
def test_an_error_of_the_users_passes_and_the_run_failed(
    tmp_path: Path, error: BaseException
) -> None:
    class Failing(Classifier):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            if batch_idx == 2:
                raise error
            return super().training_step(batch, batch_idx)

    callback = actrace.LightningCallback(tmp_path / "run")
    # Lightning ends the process at Ctrl-C.
    with pytest.raises((KeyError, SystemExit)):
        trainer(tmp_path, callback).fit(Failing(), loader())
    run = actrace.open(tmp_path / "run")
    assert (run.status, run.n_batches("train")) == ("failed", 2)


def test_copies_are_silent_and_checkpoints_hold_nothing_of_it(tmp_path: Path) -> None:
    callback, model = (
        actrace.LightningCallback(tmp_path / "run", target=lambda b: b[1]),
        Classifier(),
    )
    used = trainer(tmp_path, callback, epochs=1, enable_checkpointing=True)
    used.fit(model, loader())
    used.save_checkpoint(tmp_path / "at.ckpt")
    copies = [copy.deepcopy(callback), pickle.loads(pickle.dumps(callback))]
    for one in copies:
        trainer(tmp_path, one, epochs=1).fit(copy.deepcopy(model), loader())
    assert actrace.open(tmp_path / "run").n_batches("train") == 3
    assert callback.state_dict() == {}


def test_settings_are_checked_at_once(tmp_path: Path) -> None:
    with pytest.raises(RecorderError, match="did you mean 'layers'"):
        actrace.LightningCallback(tmp_path / "run", layer="net")
    with pytest.raises(RecorderError, match="target must be a function"):
        actrace.LightningCallback(tmp_path / "run", target=1)
    callback = actrace.LightningCallback(tmp_path / "run", criterion="los_fn")
    with pytest.raises(RecorderError, match="its losses are 'loss_fn'"):
        trainer(tmp_path, callback).fit(Classifier(), loader())
    assert not (tmp_path / "run.zarr").exists()


def test_gradients_are_unscaled_by_the_trainers_scaler(tmp_path: Path) -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    trainer = lightning.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        plugins=[MixedPrecision("16-mixed", "cpu", scaler)],
        callbacks=[actrace.LightningCallback(tmp_path / "run", gradients=True)],
    )
    trainer.fit(Classifier(), DataLoader(data(), batch_size=16))
    group = actrace.open(tmp_path / "run")["train/gradient"]
    assert (group["gradient_scale"] == 1024).all()
    assert (group["elements"] > 0).all()
    assert float(group["norm"].max()) < 100
