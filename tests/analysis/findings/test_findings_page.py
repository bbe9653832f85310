"""docs/findings.md has every rule, with the thresholds and texts that the code has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from actrace.analysis.findings import diagnose  # noqa: F401 - registers the rules
from actrace.analysis.findings.registry import CALIBRATED, RULES

PAGE = (Path(__file__).parents[3] / "docs" / "findings.md").read_text(encoding="utf-8")
SECTIONS = {
    part.partition("\n")[0].strip(): part.partition("\n")[2] for part in PAGE.split("\n## ")[1:]
}


def words(text: str) -> str:
    return " ".join(text.split())


def test_the_page_has_a_section_for_each_rule_and_no_other() -> None:
    assert list(SECTIONS) == list(RULES)


@pytest.mark.parametrize("name", RULES)
def test_a_section_shows_the_rules_own_thresholds_and_texts(name: str) -> None:
    rule, section = RULES[name], SECTIONS[name]
    rows = re.findall(r"^\| `(\w+)` \| (\S+) \| (.+) \|$", section, flags=re.MULTILINE)
    assert {key: float(value) for key, value, _ in rows} == rule.thresholds
    for key, _, source in rows:
        assert (source == "calibrated") == (rule.sources[key] == CALIBRATED)
    assert words(rule.meaning) in words(section)
    assert words(rule.remedy) in words(section)
    assert rule.summary in words(section)


@pytest.mark.parametrize("name", RULES)
def test_a_rules_docstring_has_every_threshold_with_its_default_and_source(name: str) -> None:
    text = RULES[name].check.__doc__ or ""
    for key, value in RULES[name].thresholds.items():
        found = re.search(
            rf"^    {key} : float, default (\S+)\n(.*?)(?=^    \w+ : |\Z)", text, re.S | re.M
        )
        assert found, key
        assert float(found[1]) == value
        assert "Source:" in found[2], key
