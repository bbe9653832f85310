"""Executes the notebooks on full settings, renders them as pages, gathers their evidence.

``python -m notebooks.build --data DIR`` from the checkout's root; ``make notebooks`` the same.
The notebooks themselves stay without outputs. Needs nbclient and nbconvert.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import re
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat
from benchmarks.overhead.pages import put_into
from benchmarks.overhead.table import versions
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

HERE = Path(__file__).resolve().parent
HEADS = ("claim (who)", "what we measured", "data, seeds", "command", "verdict")
#: What colours a traceback.
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
EPILOG = """
Each notebook takes some minutes of one core; what it needs of it is said at the end. Set
OMP_NUM_THREADS to the cores that torch shall use.

examples:
  python -m notebooks.build --data DIR
  python -m notebooks.build 'neurons*' --data DIR --scale 4 --runs runs/notebooks
  python -m notebooks.build --data DIR --page docs/evidence.md
  python -m notebooks.build --quick
"""


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    found = argparse.ArgumentParser(
        prog="python -m notebooks.build",
        description="Execute the notebooks, render them as pages, gather their evidence.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = found.add_argument
    add("notebooks", nargs="*", default=["*"], metavar="PATTERN", help="names; default: all")
    add("--data", type=Path, metavar="DIR", help="folder of mnist.npz, cifar10.npz and reviews")
    add("--out", type=Path, default=Path("build/notebooks"), metavar="DIR", help="of the pages")
    add("--runs", type=Path, metavar="DIR", help="where the runs are kept (default: nowhere)")
    add("--scale", type=float, default=1.0, metavar="X", help="times as many samples")
    add("--quick", action="store_true", help="trainings of seconds, whose figures mean nothing")
    add("--page", type=Path, metavar="FILE", help="put the tables of evidence between its marks")
    return found


def main(given: Sequence[str] | None = None) -> int:
    """Execute, render and gather; return the exit status."""
    args = parser().parse_args(given)
    if args.page is not None and args.quick:
        parser().error("figures of quick settings are no evidence: leave out --page or --quick")
    if args.data is not None and not args.data.is_dir():
        parser().error(f"--data {args.data} is no folder")
    names = {path.stem: path for path in sorted(HERE.glob("*.ipynb"))}
    chosen = [name for name in names if any(fnmatch.fnmatch(name, p) for p in args.notebooks)]
    if not chosen:
        parser().error(f"no notebook is called {args.notebooks}; there are {', '.join(names)}")
    args.out.mkdir(parents=True, exist_ok=True)
    settings = environment(args)
    failed = False
    for name in chosen:
        kept = args.out / f"{name}.json"
        kept.unlink(missing_ok=True)
        began, before = time.perf_counter(), _processor_seconds()
        notebook = nbformat.read(names[name], as_version=4)
        try:
            execute(notebook, settings | {"ACTRACE_EVIDENCE": os.fspath(kept.resolve())})
        except CellExecutionError as error:
            print(f"{name}: {_COLOURS.sub('', str(error))}", file=sys.stderr)
            failed = True
            continue
        page = args.out / f"{name}.html"
        page.write_text(rendered(notebook), encoding="utf-8")
        print(
            f"{name}: {_processor_seconds() - before:.0f} s of processor time, "
            f"{time.perf_counter() - began:.0f} s; {page}",
            flush=True,
        )
        if args.page is not None and kept.is_file():
            claims = json.loads(kept.read_text(encoding="utf-8"))
            put_into(f"{args.page}#{name}", evidence_lines(claims, command(name, args.scale)))
    if args.page is not None:
        print(versions(["actrace", "torch", "numpy", "scikit-learn"]))
    return int(failed)


def environment(args: argparse.Namespace) -> dict[str, str]:
    """Return the environment that a notebook's kernel is started in."""
    paths = [os.fspath(HERE), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    found = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "JUPYTER_PLATFORM_DIRS": "1",
        "ACTRACE_QUICK": str(int(args.quick)),
        "ACTRACE_SCALE": str(args.scale),
    }
    for name, folder in (("ACTRACE_DATA", args.data), ("ACTRACE_RUNS", args.runs)):
        found.pop(name, None)
        if folder is not None:
            found[name] = os.fspath(folder.resolve())
    return found


def execute(notebook: nbformat.NotebookNode, settings: Mapping[str, str]) -> None:
    """Run a notebook's cells in a kernel of its own, in an empty folder.

    Raises
    ------
    CellExecutionError
        A cell failed.
    """
    with tempfile.TemporaryDirectory() as scratch:
        settings = {**settings, "TMPDIR": scratch}
        resources = {"metadata": {"path": scratch}}
        NotebookClient(notebook, timeout=None, resources=resources).execute(env=settings)


def rendered(notebook: nbformat.NotebookNode) -> str:
    """Return an executed notebook as a page that needs no network."""
    try:
        from nbconvert import HTMLExporter
    except ImportError as error:
        raise SystemExit("pages need nbconvert; run: pip install nbconvert") from error
    exporter = HTMLExporter(mathjax_url="", require_js_url="", mermaid_js_url="")
    page, _ = exporter.from_notebook_node(notebook)
    return str(page)


def command(name: str, scale: float) -> str:
    """Return the command that makes a notebook's figures again."""
    return f"python -m notebooks.build {name} --data DIR" + f" --scale {scale:g}" * (scale != 1)


def evidence_lines(claims: Sequence[Mapping[str, Any]], again: str) -> Iterator[str]:
    """Yield a Markdown table of claims.

    Parameters
    ----------
    claims : sequence of mapping
        As `common.evidence` writes them.
    again : str
        The command that repeats the measurement.
    """
    yield f"| {' | '.join(HEADS)} |"
    yield "|" + "---|" * len(HEADS)
    for claim in claims:
        cells = (
            f"{claim['claim']} ({claim['who']})",
            claim["measured"],
            claim["data"],
            f"`{again}`",
            claim["verdict"],
        )
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _processor_seconds() -> float:
    """Return the processor time of the kernels that have ended."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
