"""The faults: each is planted into a healthy training in a way that people meet it.

A fault names the rules that must find it, and those that may rightly fire as well. May
import torch and the store's writer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from benchmarks.pathologies import planting
from benchmarks.pathologies.loop import Loop

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
        plant=planting.biased_dead,
    ),
    Fault(
        "dead-from-start",
        "the first layer's bias is -100 in seven units of ten",
        ("dead-units",),
        ("poor-initialisation",),
        plant=planting.half_dead,
    ),
    Fault(
        "wild-step",
        "one step has a learning rate 1,000 times too high",
        ("dead-units",),
        (*SILENT, *WILD),
        changes={"optimizer": "sgd", "lr": 0.02},
        plant=planting.wild_step,
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
        plant=planting.scaled(30.0),
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
        plant=planting.scaled(80.0),
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
        plant=planting.drawn(0.001),
    ),
    Fault(
        "weights-x3",
        "ten hidden layers, initial weights three times too large; gradients recorded",
        ("exploding",),
        (*SILENT, *WILD, "overfit", "phases-unlike-from-start"),
        changes={"depth": 10, "record": {"gradients": True}},
        plant=planting.thrice_he,
    ),
    Fault(
        "nan-in-a-batch",
        "half-way one number of one batch is NaN",
        ("not-finite",),
        SILENT,
        plant=planting.nan_batch,
    ),
    Fault(
        "float16-overflow",
        "activations in float16 under a scale that only grows",
        ("not-finite",),
        (*SILENT, "exploding"),
        plant=planting.overflow,
    ),
    Fault(
        "pinned-first-layer",
        "the first layer has a learning rate of 1e-6",
        ("layer-not-learning",),
        (),
        _MLP_RESNET,
        plant=planting.pinned_first,
    ),
    Fault(
        "only-head",
        "the optimizer knows the last layer's parameters alone",
        ("layer-not-learning",),
        ("lagging-class", "no-peaks"),
        plant=planting.only_head,
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
        plant=planting.zeros,
    ),
    Fault(
        "weights-of-spread-1",
        "all initial weights are drawn with a spread of 1",
        ("poor-initialisation",),
        (*WILD, "dead-units", "lagging-class", "overfit"),
        plant=planting.drawn(1.0),
    ),
    Fault(
        "growing-before-norm",
        "a layer before BatchNorm grows a thousandfold",
        ("unstable-layer-normalised",),
        ("growing-range", "exploding", "outside-axis", "learning-rate-too-high"),
        _NORMED,
        changes=_NORM,
        plant=planting.growing_before_norm,
    ),
    Fault(
        "jumping-scale",
        "each training batch is scaled by another factor from 0.1 to 10; BatchNorm follows",
        ("unstable-layer-normalised",),
        ("learning-rate-too-high", "phases-unlike-from-start", "overfit", "lagging-class"),
        _NORMED,
        changes=_NORM,
        plant=planting.jumping_scale,
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
        plant=planting.noisy_class,
    ),
    Fault(
        "drowned-class",
        "the images of one class are mostly those of another",
        ("lagging-class",),
        ("overfit",),
        plant=planting.drowned_class,
    ),
    Fault(
        "rare-class",
        "one class has 4 % of its samples",
        ("class-imbalance",),
        ("lagging-class", "overfit", "phases-unlike-from-start", "no-peaks"),
        _TEXT_IMAGES,
        plant=planting.rare_class,
    ),
    Fault(
        "dominant-class",
        "all classes but one have 4 % of their samples",
        ("class-imbalance",),
        ("lagging-class", "overfit", "phases-unlike-from-start", "no-peaks"),
        changes={"epochs": 12},
        plant=planting.dominant_class,
    ),
    Fault(
        "inputs-x100",
        "inputs from 0 to 25,500",
        ("outside-axis",),
        (*SILENT, *WILD, "overfit", "phases-unlike-from-start"),
        ("mlp-digits", "convnet-digits", "mlp-mnist", "resnet-cifar5"),
        plant=planting.raw_inputs(100.0),
    ),
    Fault(
        "wrong-sign-penalty",
        "a weight penalty with the wrong sign",
        ("growing-range",),
        (*WILD, *SILENT, "overfit"),
        plant=planting.wrong_sign,
    ),
    Fault(
        "rewarded-logits",
        "a term of the loss rewards large outputs",
        ("growing-range",),
        (*WILD, *SILENT, "overfit"),
        _ROWS_IMAGES,
        plant=planting.large_logits,
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
        plant=planting.valid_raw,
    ),
    Fault(
        "valid-not-standardised",
        "validation images from 0 to 1, training images standardised",
        ("phases-unlike-from-start",),
        ("overfit", "lagging-class", "no-peaks"),
        _CONVNET_RESNET,
        plant=planting.valid_unit,
    ),
    Fault(
        "shuffled-labels",
        "labels that have nothing to do with the inputs",
        ("no-peaks",),
        ("overfit", "lagging-class", "constant-output", "phases-unlike-from-start"),
        _TEXT_IMAGES,
        plant=planting.shuffled_labels,
    ),
    Fault(
        "noise-inputs",
        "inputs are noise, fresh in each batch",
        ("no-peaks",),
        ("overfit", "lagging-class", "constant-output", "dead-units"),
        _ROWS_IMAGES,
        plant=planting.noise_inputs,
    ),
    Fault(
        "zero-head",
        "the last layer's weights are zero and frozen",
        ("constant-output",),
        (*SILENT, "poor-initialisation"),
        _TEXT_IMAGES,
        plant=planting.zero_head,
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
        plant=planting.disk_refuses,
    ),
)
