"""``actrace serve``: the app in a browser, over all runs below a folder."""

from __future__ import annotations

import argparse
import sys
from importlib.util import find_spec

from actrace.cli.text import console, printable
from actrace.errors import MissingDependencyError

NAME = "serve"
HELP = "show the runs below a folder in a browser"
EPILOG = """\
The app has a table of the runs, a page for each and a page that compares some; it
follows a run that is being recorded. It listens on this machine alone and needs no
network. What is shown stands in the URL. Ctrl-C stops it.

examples:
  actrace serve runs                    opens a browser
  actrace serve runs --no-open          prints the URL alone
  actrace serve runs --port 8080        on another port; 0 takes one that is free
  actrace serve runs --address 0.0.0.0  for the whole network: there is no password

needs the package panel: pip install 'actrace[app]'"""

_PORT = 5006


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's arguments."""
    parser.add_argument(
        "directory", nargs="?", default=".", help="a folder of runs (default: here)"
    )
    parser.add_argument(
        "--port", type=_port, default=_PORT, help=f"port to listen on (default: {_PORT})"
    )
    parser.add_argument(
        "--address",
        default="127.0.0.1",
        metavar="HOST",
        help="address to listen on (default: 127.0.0.1, this machine alone); with any other, "
        "whoever reaches it sees every run below the folder",
    )
    parser.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="HOST:PORT",
        help="a further host and port under which browsers reach it, as behind a proxy; repeatable",
    )
    parser.add_argument("--no-open", action="store_true", help="open no browser")


def run(args: argparse.Namespace) -> int:
    """Serve until interrupted."""
    if find_spec("panel") is None:
        raise MissingDependencyError(
            "the app needs the package panel, which is not installed: pip install 'actrace[app]'"
        )
    out = console()
    with out.status("starting ..."):
        from actrace.analysis.app.server import LOOPBACK, make_server

        server = make_server(args.directory, port=args.port, address=args.address, allow=args.allow)
    shown = LOOPBACK if args.address in ("0.0.0.0", "::") else args.address  # noqa: S104
    url = f"http://[{shown}]:{server.port}/" if ":" in shown else f"http://{shown}:{server.port}/"
    if args.address not in (LOOPBACK, "localhost", "::1"):
        print(  # noqa: T201 - the command speaks here
            f"actrace: listening on {printable(args.address)}: whoever reaches this machine on "
            f"port {server.port} sees every run below the folder, without a password",
            file=sys.stderr,
        )
    out.print(
        printable(f"Serving {args.directory} at {url} (Ctrl-C stops)"), markup=False, soft_wrap=True
    )
    # Whoever started it from a script waits for the URL.
    sys.stdout.flush()
    server.start()
    if not args.no_open:
        server.io_loop.add_callback(server.show, "/")
    try:
        server.io_loop.start()
    except KeyboardInterrupt:
        # The way to stop it, and no accident.
        out.print("stopped")
    finally:
        server.stop()
    return 0


def _port(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"expected a port from 0 to 65535, got {text!r}")
    return value
