"""How each fault is planted: what changes a training's loop just before it runs.

A function takes the loop and changes it in place; those that need a number return such
a function. May import torch and the store's writer.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from unittest import mock

import torch
from benchmarks.pathologies.loop import Loop
from benchmarks.pathologies.models import hidden_layers, weighted_layers
from torch import Tensor, nn

from actrace.store.rows import BatchRows
from actrace.store.writer import RunWriter

# Units that die and saturate.


def biased_dead(loop: Loop) -> None:
    """After a third of the training a bias is driven far below zero."""
    layer = hidden_layers(loop.model)[-1]

    def drive(step: int) -> None:
        if step == loop.steps // 3:
            with torch.no_grad():
                layer.bias.fill_(-100.0)

    loop.before_step.append(drive)


def half_dead(loop: Loop) -> None:
    """Seven in ten units of the first hidden layer begin with a bias of -100."""
    layer = hidden_layers(loop.model)[0]
    with torch.no_grad():
        layer.bias[: round(0.7 * len(layer.bias))] = -100.0


def wild_step(loop: Loop) -> None:
    """One step, at a quarter of the training, has a learning rate 1,000 times too high."""

    def before(step: int) -> None:
        wild = loop.steps // 4
        if step in (wild, wild + 1):
            for group in loop.optimizer.param_groups:
                group["lr"] *= 1000.0 if step == wild else 1e-3

    loop.before_step.append(before)


def scaled(factor: float) -> Callable[[Loop], None]:
    """Return what multiplies the initial weights of hidden layers by `factor`."""

    def plant(loop: Loop) -> None:
        with torch.no_grad():
            for layer in hidden_layers(loop.model):
                layer.weight.mul_(factor)

    return plant


# Initial weights.


def drawn(spread: float) -> Callable[[Loop], None]:
    """Return what draws all weights from a normal distribution, biases being 0."""

    def plant(loop: Loop) -> None:
        with torch.no_grad():
            for layer in weighted_layers(loop.model):
                layer.weight.normal_(0.0, spread)
                if layer.bias is not None:
                    layer.bias.zero_()

    return plant


def thrice_he(loop: Loop) -> None:
    """Weights drawn as He et al. 2015 say, times three."""
    with torch.no_grad():
        for layer in hidden_layers(loop.model):
            nn.init.kaiming_normal_(layer.weight)
            layer.weight.mul_(3.0)


def zeros(loop: Loop) -> None:
    """All weights begin at zero."""
    with torch.no_grad():
        for layer in weighted_layers(loop.model):
            layer.weight.zero_()
            if layer.bias is not None:
                layer.bias.zero_()


# Numbers that are none.


def nan_batch(loop: Loop) -> None:
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


def overflow(loop: Loop) -> None:
    """A loss scale that only ever grows is applied to activations in float16."""
    assert isinstance(loop.model, nn.Sequential)
    before_head = InHalf(max(1, loop.steps // 24))
    modules = list(loop.model.named_children())
    loop.model = nn.Sequential()
    for name, module in (*modules[:-1], ("in_half", before_head), modules[-1]):
        loop.model.add_module(name, module)


# Learning rates.


def pinned_first(loop: Loop) -> None:
    """A learning rate for each depth, as for a model trained before: this one is fresh."""
    first = list(weighted_layers(loop.model)[0].parameters())
    known = {id(p) for p in first}
    rest = [p for p in loop.model.parameters() if id(p) not in known]
    lr = loop.training.lr
    loop.optimize([{"params": first, "lr": 1e-6}, {"params": rest, "lr": lr}])


def only_head(loop: Loop) -> None:
    """The optimizer was given the last layer's parameters alone."""
    loop.optimize(weighted_layers(loop.model)[-1].parameters())


def before_norm(model: nn.Module) -> nn.Module:
    """Return the second layer that a BatchNorm follows at once."""
    pairs = pairwise([m for m in model.modules() if not list(m.children())])
    found = [a for a, b in pairs if isinstance(b, nn.BatchNorm1d | nn.BatchNorm2d)]
    return found[1]


def growing_before_norm(loop: Loop) -> None:
    """A layer's weights grow a thousandfold over the training, and BatchNorm takes it back."""
    layer = before_norm(loop.model)
    factor = 1000.0 ** (1 / loop.steps)

    def grow(step: int) -> None:
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.mul_(factor)

    loop.before_step.append(grow)


def jumping_scale(loop: Loop) -> None:
    """Each training batch comes in units of its own, and BatchNorm takes it back."""
    loop.change_batch.append(lambda _, x: x * 10 ** float(2 * torch.rand(()) - 1))


# Data.


def noisy_class(loop: Loop) -> None:
    """Seven in ten of one class's training labels are those of other classes."""
    split, wrong = loop.split, loop.split.y.clone()
    at = torch.nonzero(split.y == split.classes - 1)[:, 0]
    at = at[torch.rand(len(at)) < 0.7]
    wrong[at] = torch.randint(split.classes - 1, (len(at),))
    loop.split = replace(split, y=wrong)


def drowned_class(loop: Loop) -> None:
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


def kept(loop: Loop, share: float, rare: Callable[[Tensor], Tensor]) -> None:
    """Keep a share of the training samples of the classes that are to be rare."""
    split = loop.split
    is_rare = rare(split.y)
    keep = ~is_rare
    at = torch.nonzero(is_rare)[:, 0]
    keep[at[: max(2, round(share * len(at)))]] = True
    loop.split = replace(split, x=split.x[keep], y=split.y[keep])


def rare_class(loop: Loop) -> None:
    """Of class 1 the training has one sample in 25."""
    kept(loop, 0.04, lambda y: y == 1)


def dominant_class(loop: Loop) -> None:
    """Of every class but 0 the training has one sample in 25."""
    kept(loop, 0.04, lambda y: y != 0)


def raw_inputs(factor: float) -> Callable[[Loop], None]:
    """Return what feeds raw inputs, times `factor`, in training and validation."""

    def plant(loop: Loop) -> None:
        split = loop.split
        loop.split = replace(
            split, x=factor * raw(split.x, loop), x_valid=factor * raw(split.x_valid, loop)
        )

    return plant


def raw(x: Tensor, loop: Loop) -> Tensor:
    """Return pixels from 0 to 255."""
    return x * loop.split.spread + loop.split.mean


def valid_raw(loop: Loop) -> None:
    """Validation is fed raw inputs, training normalised ones."""
    loop.split = replace(loop.split, x_valid=raw(loop.split.x_valid, loop))


def valid_unit(loop: Loop) -> None:
    """Validation is fed inputs from 0 to 1, training normalised ones."""
    loop.split = replace(loop.split, x_valid=raw(loop.split.x_valid, loop) / 255)


def shuffled_labels(loop: Loop) -> None:
    """Labels are shuffled, in training and in validation."""
    split = loop.split
    loop.split = replace(
        split,
        y=split.y[torch.randperm(len(split.y))],
        y_valid=split.y_valid[torch.randperm(len(split.y_valid))],
    )


def noise_inputs(loop: Loop) -> None:
    """A bug in the loader: the inputs are noise, fresh in each batch."""
    loop.change_batch.append(lambda _, x: torch.randn_like(x))
    loop.split = replace(loop.split, x_valid=torch.randn_like(loop.split.x_valid))


# Outputs.


def wrong_sign(loop: Loop) -> None:
    """A weight penalty is subtracted from the loss where it should be added."""
    parameters = [layer.weight for layer in weighted_layers(loop.model)]
    loop.penalty = lambda _: -0.1 * torch.stack([(p * p).sum() for p in parameters]).sum()


def large_logits(loop: Loop) -> None:
    """A term of the loss rewards large outputs."""
    loop.penalty = lambda outputs: -0.5 * outputs.abs().mean()


def zero_head(loop: Loop) -> None:
    """The last layer's weights are zero and frozen; its bias trains."""
    head = weighted_layers(loop.model)[-1]
    with torch.no_grad():
        head.weight.zero_()
    head.weight.requires_grad_(False)


# The recorder.


def disk_refuses(loop: Loop) -> None:
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
