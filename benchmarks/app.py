"""What a reader of the app waits for, in a headless Chromium.

Usage: python benchmarks/app.py [--runs N] [--run PATH ...] [--rounds N]

Records the demo's good training once, copies it, and damages one copy. Then serves the
folder and times, from asking until it is on the page: the table of all runs, a search in
it, and each section of one run's page as it is opened for the first time. With --run also
the overview of that run, which may be a long one. Needs a Chromium (ACTRACE_CHROMIUM, or
`chromium` on PATH) and the package playwright.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from actrace.analysis.app.view import SECTIONS, View
from actrace.demo import train
from actrace.store.paths import SUFFIX

#: Milliseconds after which a step has failed.
PATIENCE = 300_000
#: Section -> what is there once its first part is.
FIRST = {
    "overview": "img[alt]",
    "layer": "canvas",
    "peaks": "canvas",
    "classes": "td:visible",
    "rates": "img[alt]",
    "divergence": "img[alt]",
    "gradients": "p.note:has-text('gradients=True'), img[alt]",
    "findings": "text=/nothing found|remark|warning|error/",
}


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Start the app over a folder and give its URL."""
    command = [sys.executable, "-m", "actrace", "serve", str(folder), "--no-open", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        said = re.search(r"http://\S+", process.stdout.readline())
        if said is None:
            raise SystemExit("actrace serve did not start")
        yield said[0]
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def paged() -> Iterator[Page]:
    """Start a Chromium and give a page of it."""
    executable = os.environ.get("ACTRACE_CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(PATIENCE)
        yield page
        browser.close()


def seconds(step: Callable[[], object]) -> float:
    """Return how long a step takes."""
    begun = time.perf_counter()
    step()
    return time.perf_counter() - begun


def table_steps(page: Page, url: str, n_runs: int) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield what is timed on the page of all runs."""
    all_of_them = f"{n_runs:,} of {n_runs:,} runs, 1 damaged"

    def table() -> None:
        page.goto(url)
        page.get_by_text(all_of_them).wait_for()

    def search() -> None:
        page.get_by_label("Search").fill("run-00007")
        page.keyboard.press("Enter")
        page.get_by_text(f"1 of {n_runs:,} runs").wait_for()

    yield f"the table of {n_runs:,} runs, one of them damaged", table
    yield "a search in it", search


def section_steps(page: Page, url: str, run: str) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield the first part of each section of a run's page, opened from nothing."""
    for section, title in SECTIONS.items():

        def opened(section: str = section) -> None:
            page.goto(url + View("run", run=run, section=section).query())
            page.locator(FIRST[section]).first.wait_for()

        yield f"a run: {title}", opened


def main() -> None:
    """Record, copy, serve, time and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--runs", type=int, default=1000, help="runs (default: 1000)")
    parser.add_argument(
        "--run", type=Path, action="append", default=[], help="a run whose overview is timed too"
    )
    parser.add_argument("--rounds", type=int, default=5, help="of each step (default: 5)")
    args = parser.parse_args()
    took: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder) / "runs"
        if args.runs:
            first = train(Path(folder) / "first", 0.05, epochs=3)
            for i in range(args.runs):
                shutil.copytree(first, runs / f"run-{i:05}{SUFFIX}")
            root = runs / f"run-{args.runs - 1:05}{SUFFIX}" / "zarr.json"
            root.write_text(root.read_text("utf-8")[:100], "utf-8")
            with serving(runs) as url, paged() as page:
                steps = [*table_steps(page, url, args.runs), *section_steps(page, url, "run-00000")]
                for _ in range(args.rounds):
                    for name, step in steps:
                        took.setdefault(name, []).append(seconds(step))
        for path in args.run:
            name = path.name.removesuffix(SUFFIX)
            with serving(path.parent) as url, paged() as page:
                overview = dict(section_steps(page, url, name))["a run: Overview"]
                took[f"the overview of {name}"] = [seconds(overview) for _ in range(args.rounds)]
    print(f"Median and slowest of {args.rounds} rounds, a page opened from nothing each time.\n")
    print("| | seconds | slowest |\n|---|---|---|")
    for name, all_of_them in took.items():
        print(f"| {name} | {statistics.median(all_of_them):.1f} | {max(all_of_them):.1f} |")


if __name__ == "__main__":
    main()
