"""torch.histc and torch.histogram: agreement where they are right, and where they are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import actrace

#: Edges that float32 holds exactly, so that no rounding of an edge moves a value.
AXIS = actrace.Linear(-4, 4, 64)


def recorded(path: Path, x: torch.Tensor) -> Any:
    """Return what is recorded of a layer that returns `x`."""
    model = nn.Identity()
    with actrace.record(model, path, axis=AXIS):
        model(x)
    run = actrace.open(path)
    return run["train"].to_dataset().isel(layer=0, batch=0).load()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", range(3))
def test_histc_agrees_inside_its_range(tmp_path: Path, dtype: torch.dtype, seed: int) -> None:
    x = torch.randn(64, 100, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    ours = recorded(tmp_path / "run", x.clamp(-4, 4))
    np.testing.assert_array_equal(ours["count"], torch.histc(x.clamp(-4, 4), 64, -4, 4).long())
    assert int(ours["count"].sum()) == 6400


def test_histogram_agrees_on_the_edges(tmp_path: Path) -> None:
    x = torch.randn(64, 100, generator=torch.Generator().manual_seed(5))
    x[0, :65] = torch.linspace(-4, 4, 65)
    ours = recorded(tmp_path / "run", x)
    count, edges = torch.histogram(x, torch.linspace(-4, 4, 65))
    np.testing.assert_array_equal(ours["count"], count.long())
    np.testing.assert_array_equal(edges, np.linspace(-4, 4, 65))


def test_histc_drops_in_silence_what_is_counted_here(tmp_path: Path) -> None:
    """Out of range, NaN and infinite elements are in none of its bins."""
    x = torch.tensor([[-9.0, 9.0, 99.0, float("nan")], [float("inf"), float("-inf"), 0.0, 1.0]])
    ours = recorded(tmp_path / "run", x)
    theirs = torch.histc(x, 64, -4, 4)
    assert int(theirs.sum()) == int(ours["count"].sum()) == 2
    names = ("underflow", "overflow", "nan", "posinf", "neginf", "elements")
    assert [int(ours[name]) for name in names] == [1, 2, 1, 1, 1, 8]


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64])
def test_histc_refuses_what_is_counted_here(tmp_path: Path, dtype: torch.dtype) -> None:
    x = torch.tensor([[0, 1, 1, 0]]).to(dtype)
    with pytest.raises(RuntimeError, match="not implemented"):
        torch.histc(x, 64, -4, 4)
    assert int(recorded(tmp_path / "run", x)["count"].sum()) == 4
