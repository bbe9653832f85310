"""What the notebooks share: data that says where it comes from, models, tables of evidence."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

FOLDER = Path(__file__).parents[2] / "notebooks"


@pytest.fixture
def common(monkeypatch: pytest.MonkeyPatch):
    """Import the shared modules anew, as a notebook does, with what the environment says."""
    monkeypatch.syspath_prepend(FOLDER)

    def load(part: str, **environment: str):
        for name in ("ACTRACE_QUICK", "ACTRACE_SCALE", "ACTRACE_DATA", "ACTRACE_EVIDENCE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        for name in [name for name in sys.modules if name.split(".")[0] == "common"]:
            monkeypatch.delitem(sys.modules, name)
        return importlib.import_module(f"common.{part}")

    return load


def test_settings_are_full_unless_told(common) -> None:
    full = common("settings")
    assert (full.QUICK, full.DATA, full.sized(100, 10)) == (False, None, 100)
    assert common("settings", ACTRACE_SCALE="2.5").sized(100, 10) == 250
    quick = common("settings", ACTRACE_QUICK="1", ACTRACE_SCALE="2.5")
    assert quick.sized(100, 10) == 10
    assert len(quick.SEEDS) < len(full.SEEDS)


@pytest.mark.parametrize(("name", "shape"), [("mnist", (1, 28, 28)), ("cifar10", (3, 32, 32))])
def test_without_a_folder_digits_stand_in_and_it_is_said(common, name, shape, tmp_path) -> None:
    nowhere = getattr(common("data"), name)(50, 20)
    assert nowhere.name == "scikit-learn's digits"
    assert f"{name}.npz" in nowhere.note
    assert nowhere.x.shape == (50, *shape)
    assert nowhere.x_valid.shape == (20, *shape)
    assert abs(float(nowhere.x.mean())) < 1e-5
    missing = getattr(common("data", ACTRACE_DATA=str(tmp_path)), name)(50, 20)
    assert str(tmp_path) in missing.note


def test_images_are_read_as_they_stand_and_standardised(common, tmp_path) -> None:
    rng = np.random.default_rng(0)
    held = {
        "x_train": rng.integers(0, 255, (30, 32, 32, 3), dtype=np.uint8),
        "y_train": rng.integers(0, 10, (30, 1)),
        "x_test": rng.integers(0, 255, (20, 32, 32, 3), dtype=np.uint8),
        "y_test": rng.integers(0, 10, (20, 1)),
    }
    np.savez(tmp_path / "cifar10.npz", **held)
    found = common("data", ACTRACE_DATA=str(tmp_path)).cifar10(25, 10)
    assert found.note == "CIFAR-10: 25 images to train on, 10 to validate with"
    pixels = held["x_test"][:10].transpose(0, 3, 1, 2)
    taken = held["x_train"][:25]
    want = (pixels - taken.mean()) / taken.std(ddof=1)
    np.testing.assert_allclose(found.x_valid.numpy(), want, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(found.y.numpy(), held["y_train"][:25, 0])


def test_nothing_stands_in_for_the_reviews(common, tmp_path) -> None:
    assert common("data").reviews(10, 5) is None
    (tmp_path / "movie_reviews_neg.txt").write_text("a dull film\n" * 10)
    (tmp_path / "movie_reviews_pos.txt").write_text("a fine film\n" * 10)
    found = common("data", ACTRACE_DATA=str(tmp_path)).reviews(14, 6, length=5)
    assert found.x.shape == (14, 5)
    assert set(found.y.tolist()) == {0.0, 1.0}
    # A sentence tells its label by its second word.
    second = found.x[:, 1]
    assert len(set(zip(second.tolist(), found.y.tolist(), strict=True))) == 2


def test_the_residual_network_has_the_papers_layers_and_weights(common) -> None:
    models = common("models")
    model = models.ResNet18(channels=3, classes=1000)
    assert set(models.STAGES) <= dict(model.named_modules()).keys()
    # torchvision.models.resnet18 has 11,689,512 as well.
    assert sum(parameter.numel() for parameter in model.parameters()) == 11_689_512
    assert models.ResNet18()(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_a_verdict_is_one_of_three(common) -> None:
    module = common("evidence")
    module.Claim("a", "b", "c", "d", "refuted: it was the other way round")
    with pytest.raises(ValueError, match="a verdict is one of confirmed"):
        module.Claim("a", "b", "c", "d", "perhaps")


def test_the_table_escapes_and_says_when_it_is_of_quick_settings(common) -> None:
    claim = ("x < y", "X", "<b>", "digits", "confirmed")
    full, quick = (common("evidence", ACTRACE_QUICK=value) for value in ("0", "1"))
    shown = full.evidence(full.Claim(*claim))._repr_html_()
    assert "x &lt; y (X)" in shown
    assert "&lt;b&gt;" in shown
    assert "Quick settings" not in shown
    assert "Quick settings" in quick.evidence(quick.Claim(*claim))._repr_html_()


def test_spread_over_seeds_in_words(common) -> None:
    over_seeds = common("evidence").over_seeds
    assert over_seeds([0.1, 0.2, 0.6], ".0%") == "30% (10% to 60%)"
    assert over_seeds([2.0], ".1f", "bits") == "2.0 bits"
