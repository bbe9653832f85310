"""A JupyterLab for tests: its own settings, no news from the network, notebooks run by command."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import nbformat
from playwright.sync_api import Locator, Page, expect

#: Seconds that JupyterLab may take to answer.
PATIENCE = 180


@dataclass(frozen=True, slots=True)
class Lab:
    """A JupyterLab that is running.

    Attributes
    ----------
    url : str
    token : str
    folder : Path
        What it shows, and where its kernels start.
    """

    url: str
    token: str
    folder: Path

    def open(self, page: Page, name: str, cells: Sequence[str]) -> Notebook:
        """Write a notebook and open it in a page."""
        made = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(cell) for cell in cells],
            metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
        )
        nbformat.write(made, self.folder / f"{name}.ipynb")
        # A workspace of its own, or the page would open what another test had open.
        page.goto(f"{self.url}/lab/workspaces/{name}/tree/{name}.ipynb?token={self.token}")
        page.locator(".jp-Notebook .jp-Cell").first.wait_for()
        # A command that comes before the kernel is there is never carried out.
        expect(page.locator("#jp-main-statusbar")).to_contain_text("| Idle")
        return Notebook(page)


@dataclass(frozen=True, slots=True)
class Notebook:
    """A notebook that is open."""

    page: Page

    def command(self, name: str) -> None:
        """Run a command of JupyterLab, without waiting for what it does."""
        self.page.evaluate("name => { window.jupyterapp.commands.execute(name) }", name)

    def run_all(self) -> None:
        """Run all cells, without waiting for them."""
        self.command("notebook:run-all-cells")

    def output(self, cell: int) -> Locator:
        """Return the output of a cell."""
        return self.page.locator(".jp-CodeCell").nth(cell).locator(".jp-OutputArea")

    def finished(self, cell: int, count: int) -> None:
        """Wait until a cell has run as the kernel's `count`-th."""
        prompt = self.page.locator(".jp-CodeCell").nth(cell).locator(".jp-InputPrompt")
        prompt.filter(has_text=f"[{count}]:").wait_for()


@contextmanager
def running(folder: Path) -> Iterator[Lab]:
    """Start JupyterLab below a folder, and end it and its kernels afterwards."""
    notebooks, own = folder / "notebooks", folder / "own"
    notebooks.mkdir()
    _settle(own)
    token, port = secrets.token_hex(16), _free_port()
    settings = {
        "JUPYTER_CONFIG_DIR": own / "config",
        "JUPYTER_DATA_DIR": own / "data",
        "JUPYTER_RUNTIME_DIR": own / "runtime",
        "JUPYTERLAB_SETTINGS_DIR": own / "settings",
        "JUPYTERLAB_WORKSPACES_DIR": own / "workspaces",
        "IPYTHONDIR": own / "ipython",
        "JUPYTER_PLATFORM_DIRS": "1",
        "JUPYTER_PREFER_ENV_PATH": "1",
        "JUPYTER_TOKEN": token,
    }
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
        *("--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0"),
        *(f"--ServerApp.root_dir={notebooks}", "--LabApp.expose_app_in_browser=True"),
        *("--LabApp.extension_manager=readonly", "--ServerApp.terminals_enabled=False"),
    ]
    with (folder / "jupyterlab.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            env={**os.environ, **{name: os.fspath(value) for name, value in settings.items()}},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_for(f"{url}/api?token={token}", process, folder / "jupyterlab.log")
        yield Lab(url, token, notebooks)
    finally:
        # As Ctrl-C twice: the server ends its kernels first.
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _settle(own: Path) -> None:
    """Write settings: no question about news, and cells out of view are drawn too."""
    page = own / "config" / "labconfig" / "page_config.json"
    notebook = (
        own / "settings" / "@jupyterlab" / "notebook-extension" / "tracker.jupyterlab-settings"
    )
    for path, text in (
        (page, '{"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": true}}'),
        (notebook, '{"windowingMode": "none"}'),
    ):
        path.parent.mkdir(parents=True)
        path.write_text(text, "utf-8")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    return port


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError as error:
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"JupyterLab does not answer: {log.read_text()}") from error
            time.sleep(0.2)
