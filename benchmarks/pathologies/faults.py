"""The faults: each is planted into a healthy training in a way that people meet it.

A fault names the rules that must find it, and those that may rightly fire as well. May
import torch and the store's writer.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Final
from unittest import mock

import torch
from benchmarks.pathologies.loop import Loop
from benchmarks.pathologies.models import hidden_layers, weighted_layers
from torch import Tensor, nn

from actrace.store.rows import BatchRows
from actrace.store.writer import RunWriter

__all__ = ["FAULTS", "Fault"]


def _nothing(loop: Loop) -> None:
    """Leave the training as it is."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Attributes
    ----------
    name : str
    words : str
        What was planted.
    rules : tuple of str
        Rules that must find it, at "warning" or higher.
    allowed : tuple of str
        Rules that may rightly fire besides.
    places : tuple of str
        Trainings of `PLACES` that it is planted in, so that the first and the last differ
        in architecture and data, and the two between as well: these are its halves.
    changes : mapping
        Fields of `Training` that it changes.
    plant : callable
        Changes the loop in place, just before it runs.
    """

    name: str
    words: str
    rules: tuple[str, ...]
    allowed: tuple[str, ...] = ()
    places: tuple[str, str, str, str] = (
        "mlp-digits",
        "mlp-mnist",
        "convnet-digits",
        "convnet-mnist",
    )
    changes: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    plant: Callable[[Loop], None] = _nothing


# What follows where a network, or a part of it, says nothing any more.
SILENT: Final = (
    *("dead-layer", "dead-units", "constant-output", "no-peaks", "layer-not-learning"),
    *("lagging-class", "vanishing"),
)
# What follows where numbers are large or jump.
WILD: Final = (
    *("exploding", "not-finite", "outside-axis", "growing-range", "learning-rate-too-high"),
    *("poor-initialisation", "saturation", "unstable-layer-normalised"),
)


# Units that die and saturate.


def _biased_dead(loop: Loop) -> None:
    """After a third of the training a bias is driven far below zero."""
    layer = hidden_layers(loop.model)[-1]

    def drive(step: int) -> None:
        if step == loop.steps // 3:
            with torch.no_grad():
                layer.bias.fill_(-100.0)

    loop.before_step.append(drive)


def _half_dead(loop: Loop) -> None:
    layer = hidden_layers(loop.model)[0]
    with torch.no_grad():
        layer.bias[: round(0.7 * len(layer.bias))] = -100.0


def _wild_step(loop: Loop) -> None:
    """One step, at a quarter of the training, has a learning rate 1,000 times too high."""

    def before(step: int) -> None:
        wild = loop.steps // 4
        if step in (wild, wild + 1):
            for group in loop.optimizer.param_groups:
                group["lr"] *= 1000.0 if step == wild else 1e-3

    loop.before_step.append(before)


def _scaled(factor: float) -> Callable[[Loop], None]:
    def plant(loop: Loop) -> None:
        with torch.no_grad():
            for layer in hidden_layers(loop.model):
                layer.weight.mul_(factor)

    return plant


# Initial weights.


def _drawn(spread: float) -> Callable[[Loop], None]:
    """Return what draws all weights from a normal distribution, biases being 0."""

    def plant(loop: Loop) -> None:
        with torch.no_grad():
            for layer in weighted_layers(loop.model):
                layer.weight.normal_(0.0, spread)
                if layer.bias is not None:
                    layer.bias.zero_()

    return plant


def _thrice_he(loop: Loop) -> None:
    """Weights drawn as He et al. 2015 say, times three."""
    with torch.no_grad():
        for layer in hidden_layers(loop.model):
            nn.init.kaiming_normal_(layer.weight)
            layer.weight.mul_(3.0)


def _zeros(loop: Loop) -> None:
    with torch.no_grad():
        for layer in weighted_layers(loop.model):
            layer.weight.zero_()
            if layer.bias is not None:
                layer.bias.zero_()


# Numbers that are none.


def _nan_batch(loop: Loop) -> None:
    """Half-way one pixel of one training sample is not a number."""

    def spoil(step: int, x: Tensor) -> Tensor:
        if step == loop.steps // 2:
            x = x.clone()
            x.view(-1)[0] = float("nan")
        return x

    loop.change_batch.append(spoil)


class InHalf(nn.Module):
    """Hands its input on as float16, scaled up and down again; the scale doubles in training."""

    def __init__(self, doublings_every: int) -> None:
        super().__init__()
        self.doublings_every = doublings_every
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        """Return the input, with infinities where float16 does not reach."""
        self.calls += self.training
        scale = 2.0 ** (self.calls // self.doublings_every)
        return (x * scale).half().float() / scale


def _overflow(loop: Loop) -> None:
    """A loss scale that only ever grows is applied to activations in float16."""
    assert isinstance(loop.model, nn.Sequential)
    before_head = InHalf(max(1, loop.steps // 24))
    modules = list(loop.model.named_children())
    loop.model = nn.Sequential()
    for name, module in (*modules[:-1], ("in_half", before_head), modules[-1]):
        loop.model.add_module(name, module)


# Learning rates.


def _pinned_first(loop: Loop) -> None:
    """A learning rate for each depth, as for a model trained before: this one is fresh."""
    first = list(weighted_layers(loop.model)[0].parameters())
    known = {id(p) for p in first}
    rest = [p for p in loop.model.parameters() if id(p) not in known]
    lr = loop.training.lr
    loop.optimize([{"params": first, "lr": 1e-6}, {"params": rest, "lr": lr}])


def _only_head(loop: Loop) -> None:
    """The optimizer was given the last layer's parameters alone."""
    loop.optimize(weighted_layers(loop.model)[-1].parameters())


def _before_norm(model: nn.Module) -> nn.Module:
    """Return the second layer that a BatchNorm follows at once."""
    pairs = pairwise([m for m in model.modules() if not list(m.children())])
    found = [a for a, b in pairs if isinstance(b, nn.BatchNorm1d | nn.BatchNorm2d)]
    return found[1]


def _growing_before_norm(loop: Loop) -> None:
    """A layer's weights grow a thousandfold over the training, and BatchNorm takes it back."""
    layer = _before_norm(loop.model)
    factor = 1000.0 ** (1 / loop.steps)

    def grow(step: int) -> None:
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.mul_(factor)

    loop.before_step.append(grow)


def _jumping_scale(loop: Loop) -> None:
    """Each training batch comes in units of its own, and BatchNorm takes it back."""
    loop.change_batch.append(lambda _, x: x * 10 ** float(2 * torch.rand(()) - 1))


# Data.


def _noisy_class(loop: Loop) -> None:
    """Seven in ten of one class's training labels are those of other classes."""
    split, wrong = loop.split, loop.split.y.clone()
    at = torch.nonzero(split.y == split.classes - 1)[:, 0]
    at = at[torch.rand(len(at)) < 0.7]
    wrong[at] = torch.randint(split.classes - 1, (len(at),))
    loop.split = replace(split, y=wrong)


def _drowned_class(loop: Loop) -> None:
    """The samples of one class are mostly those of another, in training and validation."""

    def drowned(x: Tensor, y: Tensor) -> Tensor:
        mine, others = torch.nonzero(y == 3)[:, 0], torch.nonzero(y == 8)[:, 0]
        x = x.clone()
        x[mine] = 0.2 * x[mine] + 0.8 * x[others[torch.randint(len(others), (len(mine),))]]
        return x

    split = loop.split
    loop.split = replace(
        split, x=drowned(split.x, split.y), x_valid=drowned(split.x_valid, split.y_valid)
    )


def _kept(loop: Loop, share: float, rare: Callable[[Tensor], Tensor]) -> None:
    """Keep a share of the training samples of the classes that are to be rare."""
    split = loop.split
    is_rare = rare(split.y)
    keep = ~is_rare
    at = torch.nonzero(is_rare)[:, 0]
    keep[at[: max(2, round(share * len(at)))]] = True
    loop.split = replace(split, x=split.x[keep], y=split.y[keep])


def _rare_class(loop: Loop) -> None:
    _kept(loop, 0.04, lambda y: y == 1)


def _dominant_class(loop: Loop) -> None:
    _kept(loop, 0.04, lambda y: y != 0)


def _raw_inputs(factor: float) -> Callable[[Loop], None]:
    def plant(loop: Loop) -> None:
        split = loop.split
        loop.split = replace(
            split, x=factor * _raw(split.x, loop), x_valid=factor * _raw(split.x_valid, loop)
        )

    return plant


def _raw(x: Tensor, loop: Loop) -> Tensor:
    """Return pixels from 0 to 255."""
    return x * loop.split.spread + loop.split.mean


def _valid_raw(loop: Loop) -> None:
    loop.split = replace(loop.split, x_valid=_raw(loop.split.x_valid, loop))


def _valid_unit(loop: Loop) -> None:
    loop.split = replace(loop.split, x_valid=_raw(loop.split.x_valid, loop) / 255)


def _shuffled_labels(loop: Loop) -> None:
    split = loop.split
    loop.split = replace(
        split,
        y=split.y[torch.randperm(len(split.y))],
        y_valid=split.y_valid[torch.randperm(len(split.y_valid))],
    )


def _noise_inputs(loop: Loop) -> None:
    """A bug in the loader: the inputs are noise, fresh in each batch."""
    loop.change_batch.append(lambda _, x: torch.randn_like(x))
    loop.split = replace(loop.split, x_valid=torch.randn_like(loop.split.x_valid))


# Outputs.


def _wrong_sign(loop: Loop) -> None:
    """A weight penalty is subtracted from the loss where it should be added."""
    parameters = [layer.weight for layer in weighted_layers(loop.model)]
    loop.penalty = lambda _: -0.1 * torch.stack([(p * p).sum() for p in parameters]).sum()


def _large_logits(loop: Loop) -> None:
    """A term of the loss rewards large outputs."""
    loop.penalty = lambda outputs: -0.5 * outputs.abs().mean()


def _zero_head(loop: Loop) -> None:
    """The last layer's weights are zero and frozen; its bias trains."""
    head = weighted_layers(loop.model)[-1]
    with torch.no_grad():
        head.weight.zero_()
    head.weight.requires_grad_(False)


# The recorder.


def _disk_refuses(loop: Loop) -> None:
    """For a tenth of the training the store refuses training batches."""
    first, last = round(0.4 * loop.steps), round(0.5 * loop.steps)

    @contextmanager
    def refusing() -> Iterator[None]:
        append = RunWriter.append_batches

        def refuse(writer: RunWriter, rows: BatchRows) -> None:
            if rows.phase == "train" and any(first <= step < last for step in rows.step):
                if len(rows) > 1:
                    raise ValueError("these batches are tried one by one")
                raise OSError(errno.ENOSPC, "no space left on device, as planted")
            append(writer, rows)

        with mock.patch.object(RunWriter, "append_batches", refuse):
            yield

    loop.around = refusing()


_NORM: Final = MappingProxyType({"norm": True})
_MLP_RESNET: Final = ("mlp-digits", "mlp-mnist", "resnet-digits", "resnet-mnist")
_CONVNET_RESNET: Final = ("convnet-cifar5", "convnet-mnist", "resnet-cifar5", "resnet-mnist")
_TEXT_IMAGES: Final = ("transformer-reviews", "mlp-words", "convnet-cifar5", "mlp-mnist")
_HARD: Final = ("transformer-reviews", "mlp-words", "convnet-cifar5", "resnet-cifar5")
_ROWS_IMAGES: Final = ("transformer-digits", "transformer-mnist", "convnet-digits", "mlp-mnist")
_NORMED: Final = ("mlp-mnist", "resnet-mnist", "convnet-digits", "resnet-digits")

#: All of them. Those with an even place have their first and last place in the half to
#: choose by, the others in the half to report.
FAULTS: Final = (
    Fault(
        "dead-bias",
        "a hidden layer's bias is set to -100 after a third of the training",
        ("dead-layer",),
        SILENT,
        plant=_biased_dead,
    ),
    Fault(
        "dead-from-start",
        "the first layer's bias is -100 in seven units of ten",
        ("dead-units",),
        ("poor-initialisation",),
        plant=_half_dead,
    ),
    Fault(
        "wild-step",
        "one step has a learning rate 1,000 times too high",
        ("dead-units",),
        (*SILENT, *WILD),
        changes={"optimizer": "sgd", "lr": 0.02},
        plant=_wild_step,
    ),
    Fault(
        "saturated-tanh",
        "tanh, the initial weights of hidden layers times 30",
        ("saturation",),
        (
            "poor-initialisation",
            "layer-not-learning",
            "vanishing",
            "exploding",
            "lagging-class",
            "overfit",
        ),
        changes={"activation": "tanh"},
        plant=_scaled(30.0),
    ),
    Fault(
        "saturated-sigmoid",
        "sigmoid, the initial weights of hidden layers times 80",
        ("saturation",),
        (
            *("poor-initialisation", "layer-not-learning", "vanishing", "exploding"),
            *("lagging-class", "overfit", "dead-units"),
        ),
        changes={"activation": "sigmoid"},
        plant=_scaled(80.0),
    ),
    Fault(
        "deep-sigmoid",
        "twelve hidden layers of sigmoids; gradients recorded",
        ("vanishing",),
        (*SILENT, "poor-initialisation", "saturation"),
        changes={"activation": "sigmoid", "depth": 12, "record": {"gradients": True}},
    ),
    Fault(
        "tiny-weights",
        "eight hidden layers, initial weights of spread 0.001",
        ("vanishing",),
        (*SILENT, "poor-initialisation"),
        changes={"depth": 8},
        plant=_drawn(0.001),
    ),
    Fault(
        "weights-x3",
        "ten hidden layers, initial weights three times too large; gradients recorded",
        ("exploding",),
        (*SILENT, *WILD, "overfit", "phases-unlike-from-start"),
        changes={"depth": 10, "record": {"gradients": True}},
        plant=_thrice_he,
    ),
    Fault(
        "nan-in-a-batch",
        "half-way one number of one batch is NaN",
        ("not-finite",),
        SILENT,
        plant=_nan_batch,
    ),
    Fault(
        "float16-overflow",
        "activations in float16 under a scale that only grows",
        ("not-finite",),
        (*SILENT, "exploding"),
        plant=_overflow,
    ),
    Fault(
        "pinned-first-layer",
        "the first layer has a learning rate of 1e-6",
        ("layer-not-learning",),
        (),
        _MLP_RESNET,
        plant=_pinned_first,
    ),
    Fault(
        "only-head",
        "the optimizer knows the last layer's parameters alone",
        ("layer-not-learning",),
        ("lagging-class", "no-peaks"),
        plant=_only_head,
    ),
    Fault(
        "sgd-too-fast",
        "SGD with momentum and a learning rate of 3",
        ("learning-rate-too-high",),
        (*SILENT, *WILD, "overfit", "phases-unlike-from-start"),
        _MLP_RESNET,
        changes={"optimizer": "sgd", "lr": 3.0},
    ),
    Fault(
        "adam-too-fast",
        "Adam with a learning rate of 0.3",
        ("learning-rate-too-high",),
        (*SILENT, *WILD, "overfit", "phases-unlike-from-start"),
        _CONVNET_RESNET,
        changes={"optimizer": "adam", "lr": 0.3},
    ),
    Fault(
        "zero-weights",
        "all initial weights are zero",
        ("poor-initialisation",),
        SILENT,
        plant=_zeros,
    ),
    Fault(
        "weights-of-spread-1",
        "all initial weights are drawn with a spread of 1",
        ("poor-initialisation",),
        (*WILD, "dead-units", "lagging-class", "overfit"),
        plant=_drawn(1.0),
    ),
    Fault(
        "growing-before-norm",
        "a layer before BatchNorm grows a thousandfold",
        ("unstable-layer-normalised",),
        ("growing-range", "exploding", "outside-axis", "learning-rate-too-high"),
        _NORMED,
        changes=_NORM,
        plant=_growing_before_norm,
    ),
    Fault(
        "jumping-scale",
        "each training batch is scaled by another factor from 0.1 to 10; BatchNorm follows",
        ("unstable-layer-normalised",),
        ("learning-rate-too-high", "phases-unlike-from-start", "overfit", "lagging-class"),
        _NORMED,
        changes=_NORM,
        plant=_jumping_scale,
    ),
    Fault(
        "few-samples",
        "150 training samples, 30 epochs, no regularisation",
        ("overfit",),
        ("lagging-class", "phases-unlike-from-start"),
        _HARD,
        changes={
            "n_train": 150,
            "epochs": 30,
            "batch_size": 16,
            "dropout": 0.0,
            "weight_decay": 0.0,
        },
    ),
    Fault(
        "trained-too-long",
        "500 training samples, 25 epochs, no regularisation",
        ("overfit",),
        ("lagging-class", "phases-unlike-from-start"),
        _HARD,
        changes={
            "n_train": 500,
            "epochs": 25,
            "batch_size": 32,
            "dropout": 0.0,
            "weight_decay": 0.0,
        },
    ),
    Fault(
        "noisy-class",
        "seven in ten training labels of one class are wrong",
        ("lagging-class",),
        ("overfit", "phases-unlike-from-start", "class-imbalance"),
        plant=_noisy_class,
    ),
    Fault(
        "drowned-class",
        "the images of one class are mostly those of another",
        ("lagging-class",),
        ("overfit",),
        plant=_drowned_class,
    ),
    Fault(
        "rare-class",
        "one class has 4 % of its samples",
        ("class-imbalance",),
        ("lagging-class", "overfit", "phases-unlike-from-start", "no-peaks"),
        _TEXT_IMAGES,
        plant=_rare_class,
    ),
    Fault(
        "dominant-class",
        "all classes but one have 4 % of their samples",
        ("class-imbalance",),
        ("lagging-class", "overfit", "phases-unlike-from-start", "no-peaks"),
        changes={"epochs": 12},
        plant=_dominant_class,
    ),
    Fault(
        "inputs-x100",
        "inputs from 0 to 25,500",
        ("outside-axis",),
        (*SILENT, *WILD, "overfit", "phases-unlike-from-start"),
        ("mlp-digits", "convnet-digits", "mlp-mnist", "resnet-cifar5"),
        plant=_raw_inputs(100.0),
    ),
    Fault(
        "wrong-sign-penalty",
        "a weight penalty with the wrong sign",
        ("growing-range",),
        (*WILD, *SILENT, "overfit"),
        plant=_wrong_sign,
    ),
    Fault(
        "rewarded-logits",
        "a term of the loss rewards large outputs",
        ("growing-range",),
        (*WILD, *SILENT, "overfit"),
        _ROWS_IMAGES,
        plant=_large_logits,
    ),
    Fault(
        "valid-raw",
        "validation images from 0 to 255, training images standardised",
        ("phases-unlike-from-start",),
        (
            "overfit",
            "lagging-class",
            "outside-axis",
            "no-peaks",
            "exploding",
            "saturation",
            "constant-output",
        ),
        plant=_valid_raw,
    ),
    Fault(
        "valid-not-standardised",
        "validation images from 0 to 1, training images standardised",
        ("phases-unlike-from-start",),
        ("overfit", "lagging-class", "no-peaks"),
        _CONVNET_RESNET,
        plant=_valid_unit,
    ),
    Fault(
        "shuffled-labels",
        "labels that have nothing to do with the inputs",
        ("no-peaks",),
        ("overfit", "lagging-class", "constant-output", "phases-unlike-from-start"),
        _TEXT_IMAGES,
        plant=_shuffled_labels,
    ),
    Fault(
        "noise-inputs",
        "inputs are noise, fresh in each batch",
        ("no-peaks",),
        ("overfit", "lagging-class", "constant-output", "dead-units"),
        _ROWS_IMAGES,
        plant=_noise_inputs,
    ),
    Fault(
        "zero-head",
        "the last layer's weights are zero and frozen",
        ("constant-output",),
        (*SILENT, "poor-initialisation"),
        _TEXT_IMAGES,
        plant=_zero_head,
    ),
    Fault(
        "learning-rate-0",
        "a learning rate of 0",
        ("constant-output",),
        (*SILENT, "poor-initialisation"),
        changes={"lr": 0.0},
    ),
    Fault(
        "disk-refuses",
        "the store refuses training batches for a tenth of the training",
        ("recorder-gap",),
        (),
        ("transformer-digits", "mlp-mnist", "convnet-digits", "resnet-mnist"),
        plant=_disk_refuses,
    ),
)
