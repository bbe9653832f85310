"""A torch that hands kernels other numbers is found out before the kernel runs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from actrace.capture.cuda import fused


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Let kernels be built for no device; return their names."""
    names: list[str] = []
    fused._check_arguments.cache_clear()
    yield names
    fused._check_arguments.cache_clear()


def torch_that_rounds(
    monkeypatch: pytest.MonkeyPatch, names: list[str], to: Callable[[float], float]
) -> None:
    def build(source: str, name: str) -> Callable[..., None]:
        names.append(name)
        assert name in source

        def launch(_grid: object, _block: object, args: list[object]) -> None:
            out = args[0]
            assert isinstance(out, torch.Tensor)
            out.copy_(torch.tensor([to(x) if isinstance(x, float) else x for x in args[1:]]))

        return launch

    monkeypatch.setattr(torch.cuda, "_compile_kernel", build)
    monkeypatch.setattr(torch.cuda, "device", contextlib.nullcontext)


def test_floats_that_arrive_whole_are_fine(
    monkeypatch: pytest.MonkeyPatch, built: list[str]
) -> None:
    torch.set_default_dtype(torch.float64)
    try:
        torch_that_rounds(monkeypatch, built, float)
        fused._check_arguments(torch.device("cpu"))
    finally:
        torch.set_default_dtype(torch.float32)
    assert built == ["actrace_probe"]


def test_floats_that_arrive_as_float32_are_refused(
    monkeypatch: pytest.MonkeyPatch, built: list[str]
) -> None:
    torch_that_rounds(monkeypatch, built, lambda x: float(np.float32(x)))
    with pytest.raises(RuntimeError, match="hands kernels other numbers"):
        fused._check_arguments(torch.device("cpu"))
