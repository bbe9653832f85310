"""The same answers from threads, processes, a local cluster and a cluster of separate processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import dask
import pytest
import xarray as xr
from distributed import Client, LocalCluster
from tests.analysis.storing import write
from tests.synthetic import synthetic_run

import actrace
from actrace.store.run import Run

QUESTIONS: dict[str, Callable[[Run], xr.Dataset]] = {
    "twin_peaks": actrace.twin_peaks,
    "twin_peaks by class": lambda run: actrace.twin_peaks(run, by="class"),
    "find_peaks": actrace.find_peaks,
    "divergence": actrace.divergence,
    "rates by batch": actrace.rates,
    "rates by epoch": lambda run: actrace.rates(run, by="epoch"),
    "dead_units": actrace.dead_units,
    "window": lambda run: run.window("train", width=2),
}


def answers(run: Run) -> dict[str, xr.Dataset]:
    """Return all answers, asked for at once."""
    asked = {name: question(run) for name, question in QUESTIONS.items()}
    (found,) = dask.compute(asked)
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    path = tmp_path_factory.mktemp("stored") / "run"
    write(synthetic_run(n_batches=9), path)
    with actrace.open(path) as opened:
        yield opened


@pytest.fixture(scope="module")
def expected(run: Run) -> dict[str, xr.Dataset]:
    with dask.config.set(scheduler="synchronous"):
        return answers(run)


def assert_same(found: dict[str, xr.Dataset], expected: dict[str, xr.Dataset]) -> None:
    assert set(found) == set(expected)
    for name, dataset in expected.items():
        xr.testing.assert_identical(found[name], dataset)


@pytest.mark.parametrize("scheduler", ["threads", "processes"])
def test_a_scheduler_of_this_machine(run, expected, scheduler):
    with dask.config.set(scheduler=scheduler, num_workers=2):
        assert_same(answers(run), expected)


def test_a_local_cluster(run, expected):
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster),
    ):
        assert_same(answers(run), expected)


@contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run one of dask's own commands until the end."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-m", "dask", *arguments], env=environment, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def test_a_cluster_of_separate_processes(run, expected, tmp_path):
    """A scheduler and two workers that know nothing but its address and the run's path."""
    contact = tmp_path / "scheduler.json"
    with ExitStack() as processes:
        scheduler = processes.enter_context(
            started(
                "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard",
                "--scheduler-file", str(contact),
            )
        )  # fmt: skip
        while not contact.exists():
            assert scheduler.poll() is None, "the scheduler ended"
            time.sleep(0.05)
        for number in range(2):
            folder = tmp_path / f"worker{number}"
            processes.enter_context(
                started(
                    "worker", "--scheduler-file", str(contact), "--nthreads", "1",
                    "--no-dashboard", "--no-nanny", "--local-directory", str(folder),
                )
            )  # fmt: skip
        with Client(scheduler_file=str(contact)) as client:
            client.wait_for_workers(2, timeout=120)
            assert_same(answers(run), expected)
            others = client.run(os.getpid)
    assert len(others) == 2
    assert os.getpid() not in others.values()


def test_what_a_worker_opens_is_the_path_alone(run: Run, tmp_path: Path):
    """What is sent to a worker is small: no data, no open file."""
    import cloudpickle

    sent = cloudpickle.dumps(run["train"]["count"].data)
    assert len(sent) < 200_000
