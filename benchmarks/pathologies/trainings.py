"""The trainings: which model learns which data set, with what, and how well if it is healthy.

`PLACES` are the trainings that faults are planted in; `HEALTHY` are those that have none.
Standard library alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final

__all__ = ["HEALTHY", "PLACES", "Healthy", "Training"]


@dataclass(frozen=True, slots=True)
class Training:
    """What is trained on what, and how.

    Attributes
    ----------
    architecture, data : str
        Names of `models.ARCHITECTURES` and `data.DATA_SETS`.
    optimizer : {"adam", "adamw", "sgd"}
        ``sgd`` has a momentum of 0.9.
    lr : float
    epochs, batch_size : int
    n_train, n_valid : int, optional
        Samples taken of the data set. Default: all.
    activation : {"relu", "gelu", "tanh", "sigmoid"}
    norm : bool
        Whether an MLP or ConvNet has BatchNorm.
    depth : int, optional
        Hidden layers or blocks. Default: two.
    dropout, weight_decay : float
    augment : bool
        Whether training images are shifted by up to a pixel and, in CIFAR-10, mirrored.
    schedule : {"constant", "cosine", "onecycle", "warmup"}
        Of the learning rate.
    task : {"single-label", "binary", "regression"}
        Binary has one output unit; a regression gives its input again.
    record : mapping
        Further arguments of `actrace.record`.
    seed : int
    """

    architecture: str
    data: str
    optimizer: str = "adam"
    lr: float = 2e-3
    epochs: int = 4
    batch_size: int = 64
    n_train: int | None = None
    n_valid: int | None = None
    activation: str = "relu"
    norm: bool = False
    depth: int | None = None
    dropout: float = 0.0
    weight_decay: float = 0.0
    augment: bool = False
    schedule: str = "constant"
    task: str = "single-label"
    record: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0

    @property
    def outputs(self) -> int | None:
        """Units of the output layer where they are not one a class."""
        return 1 if self.task == "binary" else None

    @property
    def place(self) -> str:
        """Architecture and data set as one word."""
        return f"{self.architecture}-{self.data}"


@dataclass(frozen=True, slots=True)
class Healthy:
    """A training without a fault.

    Attributes
    ----------
    name : str
        What is particular about it.
    training : Training
    reaches : float
        Validation accuracy that it must reach to count as healthy; of a regression the
        share of the variance that it explains.
    half : {"choose", "report"}
    """

    name: str
    training: Training
    reaches: float
    half: str


def _places(*trainings: Training) -> Mapping[str, Training]:
    return MappingProxyType({training.place: training for training in trainings})


#: What faults are planted in: each learns well as it stands.
PLACES: Final = _places(
    Training("mlp", "digits", epochs=6),
    Training("mlp", "mnist", n_train=4000, n_valid=500, epochs=5),
    Training("mlp", "words", lr=5e-4, epochs=3, dropout=0.5),
    Training("convnet", "digits", epochs=6),
    Training("convnet", "mnist", n_train=4000, n_valid=500, epochs=4),
    Training("convnet", "cifar5", n_train=5000, n_valid=500, epochs=4),
    Training("resnet", "digits", "sgd", 0.05, epochs=5),
    Training("resnet", "mnist", "sgd", 0.05, n_train=4000, n_valid=500, epochs=4),
    Training("resnet", "cifar5", "sgd", 0.05, n_train=5000, n_valid=500, epochs=4),
    Training("transformer", "digits", lr=3e-3, epochs=8),
    Training("transformer", "mnist", lr=3e-3, n_train=6000, n_valid=500, epochs=4),
    Training("transformer", "reviews", lr=2e-3, epochs=3, dropout=0.3),
    Training("textnet", "reviews", lr=5e-3, epochs=3, dropout=0.4),
)

_GRADIENTS: Final = MappingProxyType({"gradients": True})


def _healthy(*named: tuple[str, Training, float]) -> tuple[Healthy, ...]:
    """Return them in halves: one to choose by, one to report, in turn."""
    halves = ("choose", "report")
    return tuple(Healthy(*one, halves[at % 2]) for at, one in enumerate(named))


_MNIST: Final = Training("mlp", "mnist", n_train=8000, epochs=4)
_CIFAR: Final = Training("convnet", "cifar5", n_valid=1000, epochs=6, augment=True)
_TEXT: Final = PLACES["textnet-reviews"]

#: In pairs of a kind, one for each half.
HEALTHY: Final = _healthy(
    ("plain", PLACES["mlp-digits"], 0.93),
    ("plain", replace(_MNIST, epochs=5, dropout=0.2), 0.90),
    ("momentum", replace(_MNIST, optimizer="sgd", lr=0.02, dropout=0.1, record=_GRADIENTS), 0.90),
    ("momentum", replace(PLACES["convnet-digits"], optimizer="sgd", lr=0.01, epochs=10), 0.93),
    ("tanh", replace(PLACES["mlp-digits"], activation="tanh", record=_GRADIENTS), 0.93),
    ("tanh", replace(PLACES["convnet-mnist"], activation="tanh", lr=1e-3, epochs=5), 0.90),
    ("batch-norm", replace(PLACES["convnet-digits"], norm=True, lr=1e-3), 0.93),
    ("batch-norm", replace(_MNIST, norm=True, dropout=0.3, epochs=5), 0.90),
    ("augmented", replace(_CIFAR, norm=True, dropout=0.2), 0.70),
    (
        "augmented",
        Training("resnet", "cifar5", "adamw", 4e-3, 5, n_valid=1000, augment=True),
        0.65,
    ),
    ("cosine", replace(PLACES["resnet-digits"], schedule="cosine", weight_decay=5e-4), 0.93),
    (
        "cosine",
        replace(PLACES["convnet-mnist"], schedule="cosine", activation="gelu", epochs=5),
        0.90,
    ),
    (
        "onecycle",
        replace(PLACES["resnet-mnist"], optimizer="adam", lr=1e-2, schedule="onecycle", epochs=4),
        0.90,
    ),
    ("onecycle", replace(_CIFAR, schedule="onecycle", lr=4e-3, dropout=0.2), 0.70),
    ("warm-up", replace(PLACES["transformer-digits"], schedule="warmup", optimizer="adamw"), 0.90),
    ("warm-up", replace(PLACES["transformer-mnist"], schedule="warmup"), 0.85),
    ("words", replace(_TEXT, weight_decay=1e-5), 0.68),
    (
        "words",
        replace(PLACES["transformer-reviews"], epochs=3, record=_GRADIENTS),
        0.65,
    ),
    ("one-logit", replace(_TEXT, task="binary"), 0.68),
    (
        "one-logit",
        Training("mlp", "words", "adamw", 5e-4, 2, dropout=0.5, task="binary"),
        0.68,
    ),
    (
        "regression",
        Training("autoencoder", "digits", epochs=12, activation="gelu", task="regression"),
        0.5,
    ),
    (
        "regression",
        Training("autoencoder", "mnist", n_train=6000, epochs=3, task="regression"),
        0.5,
    ),
    (
        "partly-recorded",
        replace(PLACES["convnet-digits"], record={"sample": "histogram"}, seed=1),
        0.93,
    ),
    (
        "partly-recorded",
        replace(_MNIST, epochs=3, dropout=0.1, schedule="cosine", seed=1, record={"every": 2}),
        0.90,
    ),
)
