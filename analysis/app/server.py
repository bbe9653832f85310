"""The app's server: who may connect, on which port, and what each session gets.

Scripts and styles come from the server itself, so it works without a network.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from typing import Any, Final

import panel as pn
from bokeh.models import CustomJS

from actrace.analysis.app.folder import RunFolder
from actrace.analysis.app.look import PAGE
from actrace.analysis.app.session import Session
from actrace.analysis.app.workers import Workers
from actrace.errors import ServeError

__all__ = ["LOOPBACK", "app_of", "make_server", "origins"]

LOOPBACK: Final = "127.0.0.1"
#: Milliseconds between looks at a run that is being recorded.
_FOLLOW: Final = 2000
#: Back and forward change the URL alone; the page of that URL has to be asked for.
_BACK: Final = "window.addEventListener('popstate', () => window.location.reload())"


def app_of(folder: RunFolder, workers: Workers) -> Callable[[], Any]:
    """Return the function that makes a session's page."""

    def make() -> Any:
        # Its own colours would follow a `theme` in the URL, and ours follow the browser too.
        pn.extension("tabulator", theme="default")
        location = pn.state.location

        def tell(query: str) -> None:
            if location is not None:
                location.search = query

        session = Session(folder, workers, location.search if location is not None else "", tell)
        document = pn.state.curdoc
        if document is not None:
            document.template = PAGE
            document.template_variables["html_attrs"] = f'data-theme="{session.theme.value}"'
            document.js_on_event("document_ready", CustomJS(code=_BACK))
        browser = pn.state.browser_info
        if browser is not None:
            browser.param.watch(lambda event: session.prefer(bool(event.new)), "dark_mode")
        pn.state.onload(session.start)
        pn.state.add_periodic_callback(session.follow, period=_FOLLOW)
        return session.body

    return make


def origins(address: str, port: int, more: Sequence[str] = ()) -> list[str]:
    """Return the hosts in a URL under which a browser may connect.

    A page of another site that reaches the port, say by a name that it points
    here, is refused.

    Examples
    --------
    >>> origins("127.0.0.1", 5006)
    ['127.0.0.1:5006', 'localhost:5006']
    """
    hosts = [LOOPBACK, "localhost"]
    if address in ("0.0.0.0", "::", ""):  # noqa: S104 - asked for by name
        name = socket.gethostname()
        hosts += [name, socket.getfqdn(), *_addresses(name)]
    elif address not in hosts:
        hosts.append(address)
    named = [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host in hosts]
    return list(dict.fromkeys([*named, *more]))


def _addresses(name: str) -> list[str]:
    try:
        return [str(found[4][0]) for found in socket.getaddrinfo(name, None)]
    except OSError:
        return []


def make_server(
    directory: str | os.PathLike[str],
    *,
    port: int = 0,
    address: str = LOOPBACK,
    allow: Sequence[str] = (),
) -> Any:
    """Return a server of the app that listens, and does not run yet.

    Parameters
    ----------
    directory : str or path
        The folder of runs.
    port : int, default 0
        0 for one that is free.
    address : str, default "127.0.0.1"
        Of the network that others may connect from.
    allow : sequence of str
        Further hosts (``"name:port"``) under which browsers connect.

    Returns
    -------
    bokeh.server.server.Server
        ``port`` says which it got; ``start``, then ``io_loop.start``, runs it.

    Raises
    ------
    NotARunError, RemoteError
        As `RunFolder`.
    ServeError
        The port is taken, or no such address.
    """
    folder = RunFolder(directory)
    with _listening(address, port) as trial:
        chosen = trial.getsockname()[1]
    workers = Workers()
    return pn.io.server.get_server(
        {"/": app_of(folder, workers)},
        port=chosen,
        address=address,
        websocket_origin=origins(address, chosen, allow),
        title="actrace",
        start=False,
        show=False,
        verbose=False,
    )


def _listening(address: str, port: int) -> socket.socket:
    """Return a socket bound to the port, which says what is wrong if it cannot be."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    trial = socket.socket(family, socket.SOCK_STREAM)
    try:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        trial.bind((address, port))
    except OSError as error:
        trial.close()
        raise ServeError(
            f"cannot serve on {address} port {port}: {error.strerror or error}; choose another "
            "with --port, or --port 0 for one that is free"
        ) from error
    return trial
