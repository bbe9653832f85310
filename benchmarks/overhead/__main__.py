"""The command: measures the chosen variants on the chosen models, prints the tables."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

if __name__ == "__main__" and not __package__:
    # Started as `python benchmarks/overhead`: the modules are found from the checkout.
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from benchmarks.overhead.measure import Settings, measure
from benchmarks.overhead.models import TASKS, find_tasks
from benchmarks.overhead.pages import command, put_into
from benchmarks.overhead.steady import Pace, pace_lines, steady
from benchmarks.overhead.table import as_json, machine, table_lines, versions
from benchmarks.overhead.variants import VARIANTS, compiled, find_variants

EPILOG = f"""
models:   {", ".join(task.name for task in TASKS)}
variants: {", ".join(variant.name for variant in VARIANTS)}

A peer that is not installed, or that fails, is a row that says so.

examples:
  python benchmarks/overhead --quick
  python benchmarks/overhead --models 'resnet18*' gpt6 --variants 'actrace*' histc --threads 2
  python benchmarks/overhead --models convnet --compiled --json overhead.json
  python benchmarks/overhead --steady --seconds 60
"""


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    found = argparse.ArgumentParser(
        prog="python benchmarks/overhead",
        description="What recording costs beside its peers, as ratios to the bare step.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = found.add_argument
    add("--models", nargs="+", default=["*"], metavar="PATTERN", help="default: all")
    add("--variants", nargs="+", default=["*"], metavar="PATTERN", help="default: all")
    add("--threads", type=int, default=1, help="of torch (default: 1)")
    add("--pin", action="store_true", help="keep the training's thread on one core")
    add("--rounds", type=int, default=24, help="over all starts (default: 24)")
    add("--starts", type=int, default=3, metavar="N", help="of each process (default: 3)")
    add("--block", type=float, default=0.25, metavar="SECONDS", help="of bare steps in a round")
    add("--quick", action="store_true", help="short: the two small models, 9 rounds")
    add("--compiled", action="store_true", help="also with the models compiled: takes minutes")
    add("--cold", action="store_true", help="also start with an empty kernel cache")
    add("--lead", type=int, default=0, metavar="N", help="watched steps before the rounds")
    add("--more-steps", type=int, default=0, metavar="N", help="after the rounds, for memory")
    add("--steady", action="store_true", help="instead: hold the writer to a steady pace")
    add("--seconds", type=float, default=60.0, help="of --steady (default: 60)")
    add("--json", type=Path, metavar="FILE", help="write every round there")
    add("--markdown", type=Path, metavar="FILE", help="write the tables there too")
    add("--page", metavar="FILE#NAME", help="put the tables into a page, between its marks")
    return found


def main(given: list[str] | None = None) -> int:
    """Measure and print; return the exit status."""
    words = sys.argv[1:] if given is None else given
    args = parser().parse_args(words)
    # Read by torch as it is imported, in the processes that try the variants.
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    # What a peer's process leaves behind is swept up by another that would say so.
    os.environ.setdefault("PYTHONWARNINGS", "ignore::UserWarning")
    head = [
        f"{machine()}; {versions(['torch', 'actrace', 'numpy', 'numba'])}",
        "",
        f"    {command(['python', 'benchmarks/overhead', *words])}",
        "",
    ]
    lines: list[str] = []
    records: list[dict[str, object]] = []

    def put(more: list[str]) -> None:
        lines.extend(more)
        print("\n".join(more), flush=True)
        if args.markdown is not None:
            # After every table, so that what is stopped leaves what it has.
            args.markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")
        if args.page is not None:
            put_into(args.page, lines)
        if args.json is not None:
            args.json.write_text(
                json.dumps({"machine": machine(), "results": records}, indent=1), encoding="utf-8"
            )

    def say(text: str) -> None:
        if sys.stderr.isatty():
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)

    put(head)
    if args.steady:
        outcome = steady(Pace(seconds=args.seconds), args.threads, say)
        say("")
        put(list(pace_lines(outcome)))
        return 0
    try:
        tasks, variants = find_tasks(args.models), find_variants(args.variants)
    except ValueError as error:
        parser().error(str(error))
    if args.quick:
        tasks = tuple(task for task in tasks if task.name in ("mlp", "convnet")) or tasks
    starts = 1 if args.quick else max(1, args.starts)
    settings = Settings(
        rounds=9 if args.quick else max(1, args.rounds // starts),
        block_seconds=args.block,
        threads=args.threads,
        lead=max(0, args.lead),
        more_steps=args.more_steps,
        cold=args.cold,
        pin=args.pin,
    )
    put([versions(name for variant in variants for name in variant.needs), ""])
    for task in tasks:
        chosen = [variants]
        if args.compiled:
            chosen.append(tuple(compiled(variant) for variant in variants))
        for each in chosen:
            try:
                results = measure(task, each, settings, say)
                for _ in range(starts - 1):
                    again = measure(task, each, replace(settings, cold=False), say)
                    for result, more in zip(results, again, strict=True):
                        result.join(more)
            except RuntimeError as error:
                put([f"**{task.title}**: {error}", ""])
                continue
            finally:
                say("")
            records.extend(as_json(results, settings))
            put(list(table_lines(results, settings)))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)  # the tables so far are written
