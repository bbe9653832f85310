"""Outputs become named leaves, units are found where they are, layouts are read in place."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence

from actrace.capture.tensors import FIRST, LAST, flat_view, leaves, unit_dim, why_not


@dataclass
class Output:
    loss: torch.Tensor
    hidden: tuple[torch.Tensor, ...]
    note: str = "x"


Pair = namedtuple("Pair", ["left", "right"])
T = torch.zeros(2)


@pytest.mark.parametrize(
    ("output", "paths"),
    [
        (T, [""]),
        ((T, (T, T)), ["[0]", "[1][0]", "[1][1]"]),
        ([T, None, 3, "a"], ["[0]"]),
        ({"last_hidden_state": T, "a b": T, 3: T}, [".last_hidden_state", "['a b']", "[3]"]),
        (Output(T, (T, T)), [".loss", ".hidden[0]", ".hidden[1]"]),
        (Pair(T, {"x": T}), [".left", ".right.x"]),
        (pack_sequence([torch.zeros(3, 4), torch.zeros(2, 4)]), [""]),
        ((pack_sequence([torch.zeros(3, 4)]), T), ["[0]", "[1]"]),
        (None, []),
        (4.0, []),
    ],
)
def test_leaves_have_stable_paths(output: object, paths: list[str]) -> None:
    assert [path for path, _ in leaves(output)] == paths


def test_a_container_that_holds_itself_is_not_followed_for_ever() -> None:
    loop: list[object] = [T]
    loop.append(loop)
    assert len(list(leaves(loop))) < 20


@pytest.mark.parametrize(
    ("module", "ndim", "context", "dim"),
    [
        (nn.Linear(1, 1), 2, None, 1),
        (nn.Linear(1, 1), 3, FIRST, 2),
        (nn.ReLU(), 2, FIRST, 1),
        (nn.ReLU(), 4, FIRST, 1),
        (nn.ReLU(), 4, LAST, 3),
        (nn.ReLU(), 4, None, 1),
        (nn.ReLU(), 3, None, 2),
        (nn.ReLU(), 3, FIRST, 1),
        (nn.Conv2d(1, 1, 1), 4, LAST, 1),
        (nn.Conv2d(1, 1, 1), 3, None, 0),
        (nn.Conv1d(1, 1, 1), 3, None, 1),
        (nn.Conv1d(1, 1, 1), 2, None, 0),
        (nn.BatchNorm1d(1), 2, None, 1),
        (nn.BatchNorm1d(1), 3, None, 1),
        (nn.MaxPool2d(1), 4, None, 1),
        (nn.Dropout2d(), 4, LAST, 1),
        (nn.GroupNorm(1, 1), 3, LAST, 1),
        (nn.LayerNorm(1), 4, FIRST, 3),
        (nn.Embedding(1, 1), 3, FIRST, 2),
        (nn.LSTM(1, 1), 3, FIRST, 2),
        (nn.ReLU(), 1, None, None),
        (nn.ReLU(), 0, None, None),
    ],
)
def test_units_are_where_the_layer_keeps_them(
    module: nn.Module, ndim: int, context: str | None, dim: int | None
) -> None:
    assert unit_dim(module, ndim, context) == dim


@pytest.mark.parametrize(
    "tensor",
    [
        torch.randn(3, 4, 5, 6),
        torch.randn(3, 4, 5, 6).contiguous(memory_format=torch.channels_last),
        torch.randn(3, 5, 4).transpose(1, 2),
        torch.randn(6, 5, 4, 3).permute(3, 2, 1, 0),
        torch.randn(6, 8, 5)[::2, ::2],
        torch.randn(3, 4, 1, 1),
        torch.randn(2, 3, 4, 5, 6).contiguous(memory_format=torch.channels_last_3d),
        torch.randn(1, 4, 5).expand(3, 4, 5),
    ],
    ids=lambda tensor: f"{tuple(tensor.shape)}-{tensor.stride()}",
)
@pytest.mark.parametrize("last", [False, True])
def test_a_flat_view_keeps_samples_and_units_apart(tensor: torch.Tensor, last: bool) -> None:
    dim = tensor.ndim - 1 if last else 1
    flat, shape = flat_view(tensor, dim)
    read = flat.numpy().reshape(shape)
    per_unit = tensor.movedim(dim, 0).flatten(1).sum(1)
    per_sample = tensor.flatten(1).sum(1)
    np.testing.assert_allclose(read.sum((0, 1, 3)), per_unit, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(read.sum((1, 2, 3)), per_sample, rtol=1e-4, atol=1e-4)


def test_usual_layouts_are_read_without_a_copy() -> None:
    plain = torch.randn(3, 4, 5, 6)
    last = plain.contiguous(memory_format=torch.channels_last)
    assert flat_view(plain, 1)[0].data_ptr() == plain.data_ptr()
    assert flat_view(last, 1)[0].data_ptr() == last.data_ptr()


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (torch.zeros(2, dtype=torch.complex64), "complex64"),
        (torch.zeros(2, 2).to_sparse(), "sparse"),
        (torch.zeros(2, device="meta"), "meta"),
    ],
    ids=["complex", "sparse", "meta"],
)
def test_what_cannot_be_counted_says_why(tensor: torch.Tensor, words: str) -> None:
    assert words in (why_not(tensor) or "")


def test_what_can_be_counted_has_no_excuse() -> None:
    assert why_not(torch.zeros(2)) is None
    assert why_not(nn.Parameter(torch.zeros(2, dtype=torch.float16))) is None


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
def test_a_quantised_tensor_is_not_plain_numbers() -> None:
    tensor = torch.quantize_per_tensor(torch.zeros(2), 0.1, 0, torch.quint8)
    assert "quantised" in (why_not(tensor) or "")
