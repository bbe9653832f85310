"""``actrace ls``: the runs below a folder."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from actrace.cli.text import console, number, printable, size, table

if TYPE_CHECKING:
    from actrace.store.catalogue.summary import RunSummary

NAME = "ls"
HELP = "list the runs below a folder"
EPILOG = """\
examples:
  actrace ls                                     the runs below this folder
  actrace ls runs --sort loss                    the best first
  actrace ls runs --tag good --status finished   those with this tag that are done
  actrace ls runs --config lr=0.1 --config model.depth=18
  actrace ls runs --name 'mnist/*' --sort started --reverse
  actrace ls s3://bucket/runs                    those in a bucket"""

#: What --sort goes by; what a run does not have comes last.
_KEYS: Final[dict[str, Callable[[RunSummary], Any]]] = {
    "name": lambda run: run.name,
    "started": lambda run: run.started or None,
    "duration": lambda run: run.duration,
    "batches": lambda run: sum(run.batches.values()),
    "size": lambda run: run.size,
    "loss": lambda run: run.loss,
    "understanding": lambda run: run.understanding,
}


def _setting(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"expected KEY=VALUE, got {text!r}")
    return key, value


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's arguments."""
    parser.add_argument(
        "directory", nargs="?", default=".", help="a folder or s3:// URL (default: here)"
    )
    parser.add_argument("--name", metavar="PATTERN", help="runs whose name matches")
    parser.add_argument(
        "--tag", action="append", default=[], metavar="TAG", help="runs with this tag; repeatable"
    )
    parser.add_argument(
        "--status",
        action="append",
        choices=("recording", "finished", "failed", "interrupted", "damaged", "newer"),
        help="runs of this status; repeatable",
    )
    parser.add_argument(
        "--config",
        action="append",
        type=_setting,
        default=[],
        metavar="KEY=VALUE",
        help="runs recorded with this setting; repeatable",
    )
    parser.add_argument(
        "--sort", choices=tuple(_KEYS), default="name", help="order (default: name)"
    )
    parser.add_argument("--reverse", action="store_true", help="the other way round")


def run(args: argparse.Namespace) -> int:
    """Print a line a run."""
    from actrace.store.catalogue.listing import list_runs, select_runs

    everything = list_runs(args.directory)
    found = select_runs(
        everything,
        name=args.name,
        status=args.status,
        tags=args.tag,
        config={key: _says(value) for key, value in args.config},
    )
    out = console()
    if not found:
        among = f" are as asked, of {len(everything)}" if everything else ""
        out.print(
            printable(f"No runs below {args.directory}{among}."), markup=False, soft_wrap=True
        )
        return 0
    columns = [
        ("run", "left"),
        ("status", "left"),
        ("batches", "left"),
        ("epochs", "right"),
        ("layers", "right"),
        ("loss", "right"),
        ("understanding", "right"),
        ("size", "right"),
        ("started", "left"),
        ("took", "right"),
        ("tags", "left"),
    ]
    ordered = _sorted(found, _KEYS[args.sort], reverse=args.reverse)
    out.print(table(columns, [_row(summary) for summary in ordered]))
    for summary in ordered:
        if summary.problem:
            out.print(printable(f"{summary.name}: {summary.problem}"), markup=False, soft_wrap=True)
    return 0


def _says(text: str) -> Callable[[Any], bool]:
    """Return whether a setting's value is what was typed: as JSON, or as the text itself."""
    try:
        typed = json.loads(text)
    except ValueError:
        typed = text

    return lambda value: bool(value == typed) or str(value) == text


def _sorted(
    runs: list[RunSummary], key: Callable[[RunSummary], Any], *, reverse: bool
) -> list[RunSummary]:
    def has(run: RunSummary) -> bool:
        value = key(run)
        return value is not None and not (isinstance(value, float) and math.isnan(value))

    known = sorted((run for run in runs if has(run)), key=key, reverse=reverse)
    return [*known, *(run for run in runs if not has(run))]


def _row(run: RunSummary) -> tuple[str, ...]:
    return (
        f"{run.name} ({run.ranks} ranks)" if run.ranks else run.name,
        f"{run.status}, thinned" if run.thinned else run.status,
        ", ".join(f"{phase} {count:,}" for phase, count in run.batches.items()) or "-",
        str(run.epochs or "-"),
        str(run.layers or "-"),
        number(run.loss, 3),
        number(run.understanding),
        size(run.size),
        run.started[:16].replace("T", " ") or "-",
        _took(run.duration),
        ", ".join(run.tags),
    )


def _took(duration: timedelta | None) -> str:
    from actrace.store.describe import seconds_words

    return "-" if duration is None else seconds_words(duration.total_seconds())
