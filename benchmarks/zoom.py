"""From a gesture to the picture in a real browser, on the page of a run of any length.

Serves the runs with `actrace serve`, opens one layer large in a headless Chromium, turns
the wheel, drags, draws boxes and resets, and prints how long it took from the last
movement of the hand until what is in view was drawn at its own sharpness, and what
processor time that took, which a busy machine changes less. Runs that are not in
--directory are written first (see benchmarks/store). Needs playwright and a Chromium
(ACTRACE_CHROMIUM, or on PATH).
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

if __name__ == "__main__":
    # Started as a script: the modules are found from the checkout.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
from benchmarks.overhead.pages import command, put_into
from benchmarks.overhead.table import machine, versions
from benchmarks.store.generate import Plan, write_run

from actrace.store.paths import ROOT_DOCUMENT, run_path

__all__ = ["PAGE", "chart", "place_of", "serving", "sharp"]

EPILOG = """
examples:
  python benchmarks/zoom.py                        ten and a hundred thousand batches
  python benchmarks/zoom.py --directory runs/yard --batches 10000 100000 1000000
"""
NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
#: Columns in view at most, as `Lens` has it by default.
COLUMNS: Final = 1000
#: Milliseconds after which a picture did not come.
PATIENCE: Final = 60_000

#: What a page tells of the chart that stands in it.
PAGE: Final = """
window.zoom = {
  last: 0,
  *views(view) { yield view; for (const child of view.child_views ?? []) yield* this.views(child) },
  figure() {
    for (const root of Bokeh.index.roots)
      for (const view of this.views(root))
        if (view.model.type == "Figure") return view
    return null
  },
  image() {
    const figure = this.figure()
    const found = figure?.model.renderers.filter((one) => one.glyph?.type == "Image") ?? []
    return found.find((one) => one.name == "sharp") ?? found[0]
  },
  data() { return this.image()?.data_source.data },
  box() {
    const view = this.figure(), at = view.el.getBoundingClientRect(), box = view.frame.bbox
    return [at.left + box.left, at.top + box.top, box.width, box.height]
  },
  view() {
    const {x_range, y_range} = this.figure().model
    return [x_range.start, x_range.end, y_range.start, y_range.end]
  },
  at(x, y) {
    const view = this.figure(), at = view.el.getBoundingClientRect()
    const {x_scale, y_scale} = view.frame
    return [at.left + x_scale.compute(x), at.top + y_scale.compute(y)]
  },
  sharp(n, most) {
    if (this.image()?.name != "sharp") return false
    const [x0, x1, y0, y1] = this.view(), data = this.data()
    const first = Math.max(0, Math.floor(x0)), stop = Math.min(n, Math.ceil(x1))
    let width = 1
    while (stop - first > width * most) width *= 2
    const edge = data.batch_edge?.[0], last = edge?.[edge.length - 1]
    if (!edge) return false
    const whole = this.figure().model.y_range.bounds, tall = (y1 - y0) / (whole[1] - whole[0])
    const low = data.y[0], high = low + data.dh[0], near = 1e-6 * (whole[1] - whole[0])
    return edge[1] - edge[0] == width && edge[0] <= first && last > stop - width
      && low <= Math.max(y0, whole[0]) + near && high >= Math.min(y1, whole[1]) - near
      && (tall >= 0.8 || high - low <= 1.6 * (y1 - y0))
  },
  async drawn(n, most, patience) {
    const frame = () => new Promise(requestAnimationFrame)
    const begun = performance.now()
    while (!this.sharp(n, most)) {
      if (performance.now() - begun > patience) return null
      await frame()
    }
    // Bokeh paints in the next frame, which is on the screen when the one after begins.
    await frame(); await frame()
    return performance.now() - this.last
  },
}
for (const kind of ["wheel", "pointermove", "pointerup", "click"])
  window.addEventListener(kind, () => { zoom.last = performance.now() }, true)
"""


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    found = argparse.ArgumentParser(
        prog="python benchmarks/zoom.py",
        description="From a gesture to the picture, in a real browser.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = found.add_argument
    add("--batches", nargs="+", type=int, default=[10_000, 100_000], metavar="N")
    add("--layers", type=int, default=60)
    add("--bins", type=int, default=256)
    add("--seed", type=int, default=0)
    add("--layer", default="layer7", help="name of the layer looked at (default: layer7)")
    add("--directory", type=Path, default=Path("build/yard"), help="where the runs are")
    add("--page", metavar="FILE#NAME", help="put the table into a page, between its marks")
    return found


@contextmanager
def serving(directory: Path) -> Iterator[str]:
    """Serve the runs below a folder while the block runs; gives the URL."""
    words = [sys.executable, "-m", "actrace", "serve", str(directory), "--no-open", "--port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            said = next(
                filter(None, (re.search(r"http://[^ ]+", line) for line in server.stdout)), None
            )
            if said is None:
                raise RuntimeError("the server ended before it said where it is")
            yield said[0]
        finally:
            server.terminate()


def chart(page: Any, url: str, run: str, layer: str) -> None:
    """Open a run's layer and wait until it is drawn."""
    page.add_init_script(PAGE)
    view = {"page": "run", "run": run, "section": "layer", "layer": layer, "phase": "train"}
    page.goto(f"{url}?{urlencode(view)}", timeout=PATIENCE)
    page.wait_for_function("() => window.Bokeh && zoom.image()", timeout=3 * PATIENCE)


def sharp(page: Any, n: int, columns: int = COLUMNS) -> float | None:
    """Return milliseconds from the last gesture to the picture of a view of `n` batches."""
    taken: float | None = page.evaluate(
        "([n, most, patience]) => zoom.drawn(n, most, patience)", [n, columns, PATIENCE]
    )
    return taken


def place_of(page: Any, batch: float, position: float) -> tuple[float, float]:
    """Return where on the page a batch and a place of the value axis are."""
    x, y = page.evaluate("([x, y]) => zoom.at(x, y)", [batch, position])
    return x, y


def gestures(page: Any, n: int, rng: np.random.Generator) -> Iterator[tuple[str, float | None]]:
    """Yield each gesture's name and how long its picture took, milliseconds."""
    left, top, wide, tall = page.evaluate("() => zoom.box()")

    def somewhere() -> tuple[float, float]:
        return left + wide * rng.uniform(0.3, 0.7), top + tall * rng.uniform(0.3, 0.7)

    def span() -> float:
        x0, x1, *_ = page.evaluate("() => zoom.view()")
        return float(x1 - x0)

    def wheel(turns: int, down: int) -> tuple[str, float | None]:
        page.mouse.move(*somewhere())
        for _ in range(turns):
            page.mouse.wheel(0, down)
        return "wheel", sharp(page, n)

    def drag(kind: str, dx: float, dy: float) -> tuple[str, float | None]:
        x, y = somewhere()
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + dx * wide, y + dy * tall, steps=8)
        page.mouse.up()
        return kind, sharp(page, n)

    def reset() -> tuple[str, float | None]:
        page.get_by_title("Reset", exact=True).first.click()
        return "reset", sharp(page, n)

    for _ in range(2):
        # Down to single batches, with a pan at every second step.
        at = 0
        while span() > 60 and at < 16:
            yield wheel(2, -300)
            at += 1
            if at % 2 == 0:
                yield drag("pan", rng.choice([-1, 1]) * 0.2, 0.0)
        yield wheel(3, 300)
        yield reset()
    page.get_by_title(re.compile("^Box Zoom")).first.click()
    for _ in range(2):
        yield drag("box", 0.25, 0.25)
        yield drag("box", 0.25, -0.2)
        yield reset()


def processor_seconds() -> dict[str, float]:
    """Return the processor time of what this process started: the server, and the rest."""
    parent: dict[int, int] = {}
    used: dict[int, float] = {}
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except (OSError, UnicodeDecodeError):
            continue
        if entry.name.isdigit() and len(fields) > 12:
            parent[int(entry.name)] = int(fields[1])
            used[int(entry.name)] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    found = {"server": 0.0, "browser": 0.0}
    for pid, seconds in used.items():
        above, path = pid, []
        while above in parent and above != os.getpid():
            path.append(above)
            above = parent[above]
        if above == os.getpid() and path:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            found["server" if b"actrace" in command and b"serve" in command else "browser"] += (
                seconds
            )
    return found


def executable() -> str:
    """Return a Chromium, or say how to get one."""
    found = os.environ.get("ACTRACE_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        raise SystemExit("no Chromium: `sudo apt install chromium`, or set ACTRACE_CHROMIUM to one")
    return found


def _run(args: argparse.Namespace, n: int) -> Path:
    """Return the run of so many batches, written first where it is not there."""
    path = run_path(args.directory / f"yard-{n}-{args.layers}-{args.bins}-{args.seed}")
    if not (path / ROOT_DOCUMENT).is_file():
        print(f"writing {n:,} batches", file=sys.stderr)
        write_run(path, Plan(n, args.layers, args.bins, args.seed))
    return path


def _summary(taken: list[float | None]) -> str:
    if not taken:
        return ""
    came = [one for one in taken if one is not None]
    missed = f"; {len(taken) - len(came)} never" if len(came) < len(taken) else ""
    return f"{np.median(came) / 1e3:.2f} s, {max(came) / 1e3:.2f} s{missed}" if came else "never"


def main(given: list[str] | None = None) -> int:
    """Serve, look, and print; return the exit status."""
    from playwright.sync_api import sync_playwright

    words = sys.argv[1:] if given is None else given
    args = parser().parse_args(words)
    args.directory.mkdir(parents=True, exist_ok=True)
    runs = {n: _run(args, n) for n in sorted(args.batches)}
    kinds = ("wheel", "pan", "box", "reset")
    lines = [
        f"{machine()}, load {os.getloadavg()[0]:.1f}; {versions(['actrace', 'bokeh', 'panel'])}; "
        f"{args.layers} layers, {args.bins} bins, seed {args.seed}",
        "",
        f"    {command(['python', 'benchmarks/zoom.py', *words])}",
        "",
        f"| median, slowest | gestures | all | {' | '.join(kinds)} | to the page "
        "| processor time a gesture |",
        "|---|---|---|" + "---|" * (len(kinds) + 2),
    ]
    print("\n".join(lines), flush=True)
    with serving(args.directory) as url, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=executable(), args=["--no-sandbox"])
        for n, path in runs.items():
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            began = time.monotonic()
            chart(page, url, path.name.removesuffix(".zarr"), args.layer)
            opened = time.monotonic() - began
            before = processor_seconds()
            taken = list(gestures(page, n, np.random.default_rng(args.seed)))
            after = processor_seconds()
            work = [f"{name} {(after[name] - before[name]) / len(taken):.2f} s" for name in after]
            page.close()
            cells = [_summary([t for kind, t in taken if kind == one]) for one in kinds]
            everything = _summary([t for _, t in taken])
            row = [f"{n:,} batches", str(len(taken)), everything, *cells, f"{opened:.1f} s"]
            row.append(", ".join(work))
            lines.append(f"| {' | '.join(row)} |")
            print(lines[-1], flush=True)
        browser.close()
    if args.page is not None:
        put_into(args.page, lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
