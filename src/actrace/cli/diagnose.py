"""``actrace diagnose``: what went wrong in a training, and what to try."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from actrace.cli.text import console, number, printable, table

if TYPE_CHECKING:
    from actrace.analysis.findings.findings import Findings

NAME = "diagnose"
HELP = "say what went wrong in a training, and what to try"
EPILOG = """\
examples:
  actrace diagnose runs/mnist.zarr                          every rule
  actrace diagnose runs/mnist.zarr --rule 'dead-*'          some of them
  actrace diagnose runs/mnist.zarr --severity error && echo fine
  actrace diagnose runs/mnist.zarr --threshold dead-layer.inactive_units=0.3
  actrace diagnose runs/mnist.zarr --json > findings.json
  actrace diagnose runs/mnist.zarr --html findings.html

exit codes: 0 nothing found of the severity asked for, 1 something, 2 an error"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's arguments."""
    parser.add_argument("run_path", metavar="RUN", help="a run's folder, with or without .zarr")
    parser.add_argument(
        "--rule", action="append", metavar="NAME", help="a rule's name or pattern; may be repeated"
    )
    parser.add_argument(
        "--severity",
        choices=("error", "warning", "info"),
        default="warning",
        help="show and count findings of this severity or a graver one (default: warning)",
    )
    parser.add_argument(
        "--threshold",
        action="append",
        default=[],
        metavar="RULE.NAME=VALUE",
        help="another threshold than a rule's own; may be repeated",
    )
    parser.add_argument("--brief", action="store_true", help="a table with a line a finding")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.add_argument("--html", metavar="FILE", type=Path, help="write them as a page besides")


def run(args: argparse.Namespace) -> int:
    """Print what was found; 0 nothing, 1 something, 2 an error."""
    from actrace.analysis.findings.diagnose import diagnose
    from actrace.errors import ActraceError
    from actrace.store.reader import open_run

    try:
        everything = diagnose(
            open_run(args.run_path), rules=args.rule, thresholds=_thresholds(args.threshold)
        )
        found = everything.at_least(args.severity)
        if args.html is not None:
            args.html.write_text(found.to_html(), encoding="utf-8")
    except (ActraceError, OSError, ValueError) as error:
        if args.debug:
            raise
        print(f"actrace: {printable(str(error))}", file=sys.stderr)  # noqa: T201
        return 2
    if args.json:
        print(found.to_json(indent=2))  # noqa: T201 - JSON is never wrapped or coloured
    elif args.brief:
        _print_table(found)
    else:
        lines = repr(found).splitlines()
        hidden = len(everything) - len(found)
        if hidden:
            lines += ["", f"{hidden} below severity {args.severity}: see --severity info"]
        console().print("\n".join(map(printable, lines)), markup=False, soft_wrap=True)
    return 1 if len(found) else 0


def _thresholds(texts: list[str]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for text in texts:
        name, _, value = text.partition("=")
        rule, _, threshold = name.partition(".")
        try:
            found.setdefault(rule, {})[threshold] = float(value)
        except ValueError:
            raise ValueError(
                f"--threshold takes RULE.NAME=VALUE, as dead-layer.inactive_units=0.3, got {text!r}"
            ) from None
    return found


def _print_table(found: Findings) -> None:
    columns = [
        ("severity", "left"),
        ("rule", "left"),
        ("layer", "left"),
        ("phase", "left"),
        ("when", "left"),
        ("measured", "left"),
        ("value", "right"),
        ("threshold", "right"),
    ]
    rows = [
        (
            finding.severity,
            finding.rule,
            finding.layer,
            finding.phase,
            finding.when,
            finding.measured,
            number(finding.value),
            number(finding.threshold),
        )
        for finding in found
    ]
    console().print(table(columns, rows))
