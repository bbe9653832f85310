"""``actrace export``: a run copied into a zip, a bucket or another directory."""

from __future__ import annotations

import argparse

from actrace.cli.text import console, printable

NAME = "export"
HELP = "copy a run into a zip file, an object store or another folder"
EPILOG = """\
examples:
  actrace export runs/mnist mnist.zip           one file to send; actrace info mnist.zip
  actrace export runs/mnist s3://bucket/mnist   again later: brings it up to date
  actrace export s3://bucket/mnist mnist        and back

For s3:// pip install "actrace[remote]"; where and as whom is told by AWS_ENDPOINT_URL,
AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION. Of a run that is being
recorded the last commit is copied."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's arguments."""
    parser.add_argument("run_path", metavar="RUN", help="a run's folder, zip file or URL")
    parser.add_argument("to", metavar="TO", help="NAME.zip, s3://BUCKET/PATH, or a folder")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the zip or the run that stands there"
    )


def run(args: argparse.Namespace) -> int:
    """Copy the run and print where it is."""
    import actrace

    place = actrace.export_run(args.run_path, args.to, overwrite=args.overwrite)
    console().print(printable(place), markup=False, soft_wrap=True)
    return 0
