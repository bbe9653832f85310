"""``actrace tag``: tags on a run, and off it."""

from __future__ import annotations

import argparse

from actrace.cli.text import console, printable

NAME = "tag"
HELP = "add tags to a run or take them away"
EPILOG = """\
examples:
  actrace tag runs/mnist                        its tags
  actrace tag runs/mnist +good +baseline -new   add two, take one away
  actrace ls runs --tag good                    the runs that have one"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's arguments."""
    parser.add_argument("run_path", metavar="RUN", help="a run's folder, with or without .zarr")
    parser.add_argument(
        "tags",
        # So that -new is a tag and not an option.
        nargs=argparse.REMAINDER,
        metavar="+TAG|-TAG",
        help="+TAG to add it, -TAG to take it away",
    )
    parser.set_defaults(parser=parser)


def run(args: argparse.Namespace) -> int:
    """Change the tags and print those that the run then has."""
    import actrace

    for word in args.tags:
        if word[:1] not in ("+", "-") or word.startswith("--") or not word[1:].strip():
            args.parser.error(f"expected +TAG or -TAG, got {word!r}")
    if args.tags:
        tags = actrace.tag_run(
            args.run_path,
            add=[word[1:] for word in args.tags if word.startswith("+")],
            remove=[word[1:] for word in args.tags if word.startswith("-")],
        )
    else:
        found = actrace.open(args.run_path).attrs.get("tags")
        tags = tuple(map(str, found)) if isinstance(found, list) else ()
    console().print(printable(", ".join(tags) or "no tags"), markup=False, soft_wrap=True)
    return 0
