"""Keras 3 on its torch backend, recorded by its callback."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch

import actrace

pytestmark = [
    # Keras 3.15 turns arrays into tensors in a way that NumPy 2 calls deprecated.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword"),
]


def data(n: int = 48, seed: int = 0) -> tuple[Any, Any]:
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((n, 6, 6, 2)).astype("float32")
    return x, x[:, 0, 0].argmax(1)


def model(loss: Any = None) -> Any:
    keras.utils.set_random_seed(4)
    inputs = keras.Input((6, 6, 2))
    h = keras.layers.Conv2D(5, 3, name="conv")(inputs)
    h = keras.layers.ReLU(name="act")(h)
    h = keras.layers.Dropout(0.2)(keras.layers.Flatten(name="flat")(h))
    built = keras.Model(inputs, keras.layers.Dense(2, name="out")(h))
    built.compile(
        keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.1, 1, 0.5)),
        loss or keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return built


def test_a_fit_gives_phases_epochs_steps_losses_rates_and_metrics(tmp_path: Path) -> None:
    used = model()
    history = used.fit(
        *data(), batch_size=16, epochs=2, verbose=0, validation_data=data(24, 1),
        callbacks=[actrace.KerasCallback(tmp_path / "run")],
    ).history  # fmt: skip
    run = actrace.open(tmp_path / "run")
    train, valid = run["train"], run["valid"]
    assert run.status == "finished"
    assert run["layer"].values.tolist() == ["conv", "act", "flat", "dropout", "out"]
    # Channels last, as Keras has them.
    assert run["layer_units"].values.tolist()[:2] == [5, 5]
    assert train["elements"].values[0].tolist() == [16 * 4 * 4 * 5] * 6
    assert (train["calls"].values == 1).all()
    assert train["epoch"].values.tolist() == [0, 0, 0, 1, 1, 1]
    assert train["step"].values.tolist() == list(range(6))
    assert train["samples"].values.tolist() == [16] * 6
    assert train["global_step"].values.tolist() == list(range(6))
    assert np.allclose(train["lr"].values, 0.1 * 0.5 ** np.arange(6))
    means = train["loss"].values.reshape(2, 3).mean(1)
    assert np.allclose(means, history["loss"], rtol=1e-5)
    assert valid["epoch"].values.tolist() == [0, 0, 1, 1]
    assert np.isfinite(valid["val_accuracy"].values).tolist() == [False, True] * 2
    assert np.allclose(valid["val_loss"].values[[1, 3]], history["val_loss"])
    assert np.allclose(valid["logged_loss"].values[[1, 3]], history["loss"])
    assert run["train/output"]["samples"].values.sum() == 96
    assert run["train/output"].attrs["layer"] == "out"
    assert "compute_loss" not in used.__dict__


def test_statistics_are_those_of_the_layers_outputs(tmp_path: Path) -> None:
    used, (x, y) = model(), data(16)
    used.fit(x, y, batch_size=16, verbose=0, callbacks=[actrace.KerasCallback(tmp_path / "run")])
    used.evaluate(x, y, batch_size=16, verbose=0, callbacks=[actrace.KerasCallback(tmp_path / "e")])
    run = actrace.open(tmp_path / "e")["test"]
    with torch.no_grad():
        conv = used.get_layer("conv")(x)
        out = used(x, training=False)
    assert np.isclose(float(run["mean"][0, 0]), float(conv.mean()), atol=1e-6)
    assert np.isclose(float(run["std"][4, 0]), float(out.std(correction=0)), rtol=1e-5)


def test_the_same_weights_with_and_without(tmp_path: Path) -> None:
    def fit(*callbacks: Any) -> Any:
        used = model()
        used.fit(*data(), batch_size=16, epochs=2, verbose=0, callbacks=list(callbacks))
        return [*used.get_weights(), torch.get_rng_state().numpy()]

    bare, recorded = fit(), fit(actrace.KerasCallback(tmp_path / "run"))
    assert all(np.array_equal(a, b) for a, b in zip(bare, recorded, strict=True))


def test_evaluation_and_prediction_after_a_fit_are_of_the_same_run(tmp_path: Path) -> None:
    used, callback = model(), actrace.KerasCallback(tmp_path / "run")
    for _ in range(2):
        used.fit(*data(), batch_size=16, verbose=0, callbacks=[callback])
    used(data(4)[0])  # by hand, and no batch of the run
    scores = used.evaluate(*data(24, 1), batch_size=12, verbose=0, callbacks=[callback])
    used.predict(data(24, 1)[0], batch_size=12, verbose=0, callbacks=[callback])
    run = actrace.open(tmp_path / "run")
    counts = {phase: run.n_batches(phase) for phase in run.phases}
    assert counts == {"train": 6, "test": 2, "predict": 2}
    assert run["train"]["epoch"].values.tolist() == [0, 0, 0, 1, 1, 1]
    assert run["test"]["step"].values.tolist() == [6, 6]
    assert np.isclose(run["test"]["logged_loss"].values[-1], scores[0])


def test_other_targets_than_class_numbers(tmp_path: Path) -> None:
    x, y = data()
    onehot = keras.utils.to_categorical(y, 2)
    used = model(keras.losses.MeanSquaredError())
    callback = actrace.KerasCallback(tmp_path / "run", task="regression")
    used.fit(x, onehot, batch_size=16, verbose=0, callbacks=[callback])
    output = actrace.open(tmp_path / "run")["train/output"]
    assert output.attrs["task"] == "regression"


def test_nested_and_subclassed_models_have_their_layers_by_path(tmp_path: Path) -> None:
    class Block(keras.layers.Layer):
        def __init__(self) -> None:
            super().__init__(name="block")
            self.first, self.second = (keras.layers.Dense(4, name=n) for n in ("first", "second"))

        def call(self, x: Any) -> Any:
            return self.second(self.first(x))

    keras.utils.set_random_seed(1)
    used = keras.Sequential([keras.Input((8,)), Block(), keras.layers.Dense(1, name="out")])
    used.compile("sgd", "mse")
    x = np.zeros((16, 8), "float32")
    callback = actrace.KerasCallback(tmp_path / "run", layers="block/*")
    used.fit(x, x[:, :1], batch_size=8, verbose=0, callbacks=[callback])
    run = actrace.open(tmp_path / "run")
    assert run["layer"].values.tolist() == ["block/first", "block/second"]


@pytest.mark.parametrize("error", [KeyError("the user's own"), KeyboardInterrupt()])
def test_an_error_of_the_users_passes_and_the_run_failed(
    tmp_path: Path, error: BaseException
) -> None:
    class Failing(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            if batch == 2:
                raise error

    callback = actrace.KerasCallback(tmp_path / "run")
    with pytest.raises(type(error)):
        model().fit(*data(), batch_size=16, verbose=0, callbacks=[callback, Failing()])
    callback.attachment.close()
    run = actrace.open(tmp_path / "run")
    assert (run.status, run.n_batches("train")) == ("failed", 2)


def test_a_model_can_be_saved_copied_and_pickled_meanwhile(tmp_path: Path) -> None:
    class Saving(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.model.save(tmp_path / "model.keras")
            for copied in (copy.deepcopy(self.model), pickle.loads(pickle.dumps(self.model))):
                copied.fit(*data(), batch_size=16, verbose=0)

    callback = actrace.KerasCallback(tmp_path / "run")
    model().fit(*data(), batch_size=16, verbose=0, callbacks=[callback, Saving()])
    assert actrace.open(tmp_path / "run").n_batches("train") == 3
    keras.models.load_model(tmp_path / "model.keras")
