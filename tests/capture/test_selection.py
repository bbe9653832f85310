"""Layers are chosen by pattern, type or predicate, and a miss says what there is."""

from __future__ import annotations

import pytest
from torch import nn

from actrace.capture.model.selection import find_module, select_modules
from actrace.errors import RecorderError


def model() -> nn.Module:
    return nn.ModuleDict(
        {
            "stem": nn.Conv2d(1, 2, 3),
            "block": nn.Sequential(nn.Linear(2, 2), nn.ReLU()),
            "empty": nn.ModuleList(),
        }
    )


def test_the_default_is_every_leaf() -> None:
    assert list(select_modules(model(), None)) == ["stem", "block.0", "block.1", "empty"]


@pytest.mark.parametrize(
    ("layers", "names"),
    [
        ("block*", ["block", "block.0", "block.1"]),
        (["block.?", "stem"], ["stem", "block.0", "block.1"]),
        (nn.Linear, ["block.0"]),
        ((nn.ReLU, "stem"), ["stem", "block.1"]),
        (lambda name, module: isinstance(module, nn.Sequential), ["block"]),
        ("ModuleDict", ["ModuleDict"]),
    ],
)
def test_layers_come_by_pattern_type_and_predicate(layers: object, names: list[str]) -> None:
    assert list(select_modules(model(), layers)) == names  # type: ignore[arg-type]


def test_a_shared_module_has_one_row_under_its_first_name() -> None:
    act = nn.ReLU()
    shared = nn.Sequential(nn.Linear(2, 2), act, nn.Linear(2, 2), act)
    assert list(select_modules(shared, None)) == ["0", "1", "2"]


def test_a_pattern_without_match_names_close_layers_first() -> None:
    with pytest.raises(RecorderError, match=r"'blok.0' matches no layer; the model has 'block.0'"):
        select_modules(model(), "blok.0")


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        (nn.LSTM, "no LSTM; its modules are"),
        (lambda name, module: False, "no layer"),
        ([], "no layer"),
        ([3], "got 3"),
        (3, "got 3"),
    ],
)
def test_a_choice_of_nothing_is_refused(layers: object, words: str) -> None:
    with pytest.raises(RecorderError, match=words):
        select_modules(model(), layers)  # type: ignore[arg-type]


def test_an_output_is_found_by_name_and_leaf() -> None:
    assert find_module(model(), "block.0")[::2] == ("block.0", "")
    assert find_module(model(), "block[1]")[::2] == ("block", "[1]")
    with pytest.raises(RecorderError, match="'blck' is no module"):
        find_module(model(), "blck")
