"""The code of docs/comparison.md runs to the letter, and finds what the page says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def after_each(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """Return what `found` was after each example."""
    text = (ROOT / "docs" / "comparison.md").read_text(encoding="utf-8")
    _, *examples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {"__name__": "page"}
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("page"))
        for number, code in enumerate(examples):
            exec(compile(code, f"example {number} of docs/comparison.md", "exec"), names)
            found.append(names["found"])
    return found


def test_a_rate_far_too_high_is_told_early_and_another_seed_is_not(after_each: list[Any]) -> None:
    again, high = after_each[0].parts
    assert not again.parted
    assert high.parted
    assert high.at <= 20
    table = after_each[0].differences
    assert table.loc["too-high", "outcome.accuracy"] < 0.3
    assert table.loc["too-high", "outcome.death_rate"] > table.loc["good", "outcome.death_rate"]


def test_pretrained_and_fresh_reach_like_errors_and_are_told_apart(after_each: list[Any]) -> None:
    (part,) = after_each[1].parts
    assert part.parted
    accuracy = after_each[1].differences["outcome.accuracy"]
    assert abs(accuracy["fresh"] - accuracy["pretrained"]) < 0.03
