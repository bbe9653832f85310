"""Transformers' Trainer, recorded by its callback."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.capture.integrations.data import same, weights
from torch import Tensor
from torch.utils.data import Dataset
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

import actrace

pytestmark = [
    # Pinned memory without a device: torch's own, of the Trainer's default.
    pytest.mark.filterwarnings("ignore:'pin_memory' argument is set as true"),
]


class Sentences(Dataset[dict[str, Tensor]]):
    """Tokens whose first decides the class."""

    def __init__(self, n: int = 24, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.tokens = torch.randint(0, 30, (n, 6), generator=generator)

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, at: int) -> dict[str, Tensor]:
        tokens = self.tokens[at]
        return {
            "input_ids": tokens,
            "attention_mask": torch.ones_like(tokens),
            "labels": tokens[0] % 3,
        }


class Texts(Sentences):
    """Tokens that a language model predicts."""

    def __getitem__(self, at: int) -> dict[str, Tensor]:
        return {"input_ids": self.tokens[at], "labels": self.tokens[at]}


def bert() -> BertForSequenceClassification:
    config = BertConfig(
        vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=8,
        id2label={0: "red", 1: "green", 2: "blue"}, label2id={"red": 0, "green": 1, "blue": 2},
    )  # fmt: skip
    return BertForSequenceClassification(config)


def gpt() -> GPT2LMHeadModel:
    return GPT2LMHeadModel(GPT2Config(vocab_size=30, n_embd=16, n_layer=1, n_head=2, n_positions=8))


def trainer(folder: Path, model: Any, *callbacks: Any, data: Any = None, **more: Any) -> Trainer:
    settings: dict[str, Any] = {
        "num_train_epochs": 2, "eval_strategy": "epoch", "save_strategy": "no",
        "logging_strategy": "epoch", **more,
    }  # fmt: skip
    arguments = TrainingArguments(
        str(folder / "out"), per_device_train_batch_size=8, per_device_eval_batch_size=12,
        learning_rate=1e-2, report_to=[], disable_tqdm=True, use_cpu=True, **settings,
    )  # fmt: skip
    data = data or Sentences
    return Trainer(
        model, arguments, train_dataset=data(), eval_dataset=data(24, 1), callbacks=list(callbacks)
    )


def test_a_training_gives_phases_epochs_steps_losses_rates_and_metrics(tmp_path: Path) -> None:
    callback = actrace.TransformersCallback(tmp_path / "run")
    used = trainer(tmp_path, bert(), callback)
    used.train()
    run = actrace.open(tmp_path / "run")
    train, valid = run["train"], run["valid"]
    assert run.status == "finished"
    assert train["epoch"].values.tolist() == [0, 0, 0, 1, 1, 1]
    assert train["step"].values.tolist() == [0, 1, 2, 3, 4, 5]
    assert train["global_step"].values.tolist() == [0, 1, 2, 3, 4, 5]
    assert train["samples"].values.tolist() == [8] * 6
    assert np.allclose(train["lr"].values, 1e-2 * (1 - np.arange(6) / 6))
    assert valid["epoch"].values.tolist() == [0, 0, 1, 1]
    # The Trainer logs the mean loss of an epoch's batches.
    logged = train["logged_loss"].values
    assert np.isfinite(logged).tolist() == [False, False, True] * 2
    assert np.allclose(logged[[2, 5]], train["loss"].values.reshape(2, 3).mean(1), atol=1e-4)
    known = valid["eval_loss"].values
    assert np.isfinite(known).tolist() == [False, True] * 2
    assert np.allclose(known[[1, 3]], valid["loss"].values.reshape(2, 2).mean(1), atol=1e-6)
    assert run["train/output"].attrs["layer"] == "classifier"
    assert run["train/output"]["target_class"].values.tolist() == ["red", "green", "blue"]
    assert run["train/output"]["samples"].values.sum() == 48
    assert run["valid/output"]["samples"].values.sum() == 48


def test_the_same_weights_with_and_without(tmp_path: Path) -> None:
    def fit(*callbacks: Any) -> list[Tensor]:
        torch.manual_seed(5)
        model = bert()
        trainer(tmp_path, model, *callbacks).train()
        return [*weights(model), torch.get_rng_state()]

    assert same(fit(), fit(actrace.TransformersCallback(tmp_path / "run")))


def test_evaluation_and_prediction_around_a_training_are_of_the_same_run(tmp_path: Path) -> None:
    model = bert()
    used = trainer(tmp_path, model, actrace.TransformersCallback(tmp_path / "run"))
    used.evaluate()
    used.train()
    model(input_ids=torch.zeros(1, 4, dtype=torch.long))  # by hand, and no batch of the run
    used.evaluate()
    used.predict(Sentences(24, 2))
    used.train()
    run = actrace.open(tmp_path / "run")
    counts = {phase: run.n_batches(phase) for phase in run.phases}
    assert counts == {"valid": 2 + 4 + 2 + 4, "train": 12, "test": 2}
    assert run["valid"]["step"].values.tolist() == [0, 0, 3, 3, 6, 6, 6, 6, 9, 9, 12, 12]
    assert run["train"]["epoch"].values.tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    assert run["test"]["epoch"].values.tolist() == [1, 1]
    assert np.isfinite(run["test"]["test_loss"].values).tolist() == [False, True]
    assert not model._forward_hooks


def test_accumulated_batches_are_batches_and_their_losses_whole(tmp_path: Path) -> None:
    def losses(n: int) -> Any:
        torch.manual_seed(5)
        path = tmp_path / f"run{n}"
        used = trainer(
            tmp_path, gpt(), actrace.TransformersCallback(path), data=Texts,
            gradient_accumulation_steps=n, num_train_epochs=1, eval_strategy="no",
        )  # fmt: skip
        used.train()
        return actrace.open(path)

    one, three = losses(1), losses(3)
    assert three["train"]["global_step"].values.tolist() == [0, 0, 0]
    assert three["train"]["step"].values.tolist() == [0, 1, 2]
    # The first batch is the same in both.
    assert np.isclose(one["train"]["loss"].values[0], three["train"]["loss"].values[0], rtol=1e-5)
    # Labels of a language model are shifted against its outputs: left alone.
    assert "output" not in one["train"].children


def test_a_restored_training_goes_on_where_it_was(tmp_path: Path) -> None:
    path, model = tmp_path / "run", bert()
    used = trainer(
        tmp_path, model, actrace.TransformersCallback(path), save_strategy="epoch",
        num_train_epochs=1,
    )  # fmt: skip
    used.train()
    again = trainer(tmp_path, model, actrace.TransformersCallback(path, resume=True))
    again.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-3"))
    train = actrace.open(path)["train"]
    assert train["step"].values.tolist() == [0, 1, 2, 3, 4, 5]
    assert train["epoch"].values.tolist() == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("error", [KeyError("the user's own"), KeyboardInterrupt()])
def test_an_error_of_the_users_passes_and_the_run_failed(
    tmp_path: Path, error: BaseException
) -> None:
    class Failing(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 2:
                raise error

    callback = actrace.TransformersCallback(tmp_path / "run")
    with pytest.raises(type(error)):
        trainer(tmp_path, bert(), callback, Failing()).train()
    callback.attachment.close()
    run = actrace.open(tmp_path / "run")
    assert (run.status, run.n_batches("train")) == ("failed", 2)


def test_copies_are_silent_and_a_model_can_be_saved(tmp_path: Path) -> None:
    callback, model = actrace.TransformersCallback(tmp_path / "run"), bert()
    used = trainer(tmp_path, model, callback, num_train_epochs=1)
    used.train()
    used.save_model(str(tmp_path / "saved"))
    pickle.loads(pickle.dumps(model))
    for one in (copy.deepcopy(callback), pickle.loads(pickle.dumps(callback))):
        trainer(tmp_path, copy.deepcopy(model), one).train()
    assert actrace.open(tmp_path / "run").n_batches("train") == 3
