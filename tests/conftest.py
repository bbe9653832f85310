"""Options of the whole test suite."""

from __future__ import annotations

from pathlib import Path

import pytest

# A server for the tests that ask for one; by its path, as a plugin, it would be imported twice.
from tests.s3 import bucket, endpoint, gate  # noqa: F401

#: Where real data is looked for unless --data says otherwise, beside the checkout.
DATA = Path(__file__).parents[2] / "shared" / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--long",
        action="store_true",
        help="also run tests marked long, and repeat the fault tests ten times as often",
    )
    parser.addoption(
        "--data",
        type=Path,
        default=DATA,
        metavar="DIR",
        help="folder of the real data (mnist.npz) that the tests in tests/real train on",
    )
    parser.addoption(
        "--browser",
        action="store_true",
        help="also run the tests that drive a headless Chromium (make browser)",
    )
    parser.addoption(
        "--update-screenshots",
        action="store_true",
        help="write the pictures that the tests in tests/browser compare pages with",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests marked long, and those in a browser, unless they are asked for."""

    def is_asked_for(item: pytest.Item) -> bool:
        if item.get_closest_marker("long") and not config.getoption("--long"):
            return False
        return "browser" not in getattr(item, "fixturenames", ()) or config.getoption("--browser")

    left_out = [item for item in items if not is_asked_for(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if is_asked_for(item)]


@pytest.fixture
def repeats(request: pytest.FixtureRequest) -> int:
    """How often a fault test repeats: 1, or 10 with --long."""
    return 10 if request.config.getoption("--long") else 1


@pytest.fixture
def data_dir(request: pytest.FixtureRequest) -> Path:
    """Return the folder of the real data, or say that it is not here."""
    folder: Path = request.config.getoption("--data")
    if not (folder / "mnist.npz").is_file():
        pytest.skip(f"no mnist.npz in {folder}: give its folder by --data DIR")
    return folder
