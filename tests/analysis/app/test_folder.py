"""A name leads to a run below the folder, and nowhere else."""

import os

import pytest

from actrace.analysis.app.folder import RunFolder
from actrace.errors import DamagedRunError, NotARunError, RemoteError


def test_every_name_of_the_table_opens(runs):
    folder = RunFolder(runs)
    found = folder.runs()
    assert {run.name for run in found} >= {"good", "nested/good", "damaged"}
    for run in found:
        assert folder.path(run.name) == run.path
        assert folder.summary(run.name) == run
        if run.status == "damaged":
            with pytest.raises(DamagedRunError):
                folder.open(run.name)
        else:
            assert folder.open(run.name).n_batches("train") == run.batches["train"]


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../outside",
        "nested/../good",
        "nested/../../outside",
        "/etc",
        "//etc",
        "~/x",
        "nested//good",
        "./good",
        "linked",
        "up/outside",
        "up/runs/good",
        "nothing",
        "nested",
        "good.zarr/train",
        "a\0b",
        "x" * 5000,
        ".hidden",
        "s3://bucket/run",
        "..\\outside",
    ],
)
def test_a_name_that_leads_elsewhere_is_no_run(runs, name):
    folder = RunFolder(runs)
    with pytest.raises(NotARunError):
        folder.summary(name)
    with pytest.raises(NotARunError):
        folder.open(name)


def test_an_absolute_path_is_no_name_even_of_a_run_inside(runs):
    with pytest.raises(NotARunError, match="no run is called"):
        RunFolder(runs).open(str(runs / "good.zarr"))


def test_a_folder_that_is_a_run_shows_that_one(runs):
    folder = RunFolder(runs / "good.zarr")
    (run,) = folder.runs()
    assert run.name == "good"
    assert folder.open("good").phases == ("train", "valid")
    with pytest.raises(NotARunError):
        folder.open("good/good")


def test_what_is_no_folder_of_this_machine_is_refused(runs, tmp_path):
    with pytest.raises(NotARunError, match="nothing is there"):
        RunFolder(tmp_path / "none")
    with pytest.raises(NotARunError, match="it is a file"):
        RunFolder(os.path.join(runs, "good.zarr", "zarr.json"))
    with pytest.raises(RemoteError, match="actrace export"):
        RunFolder("s3://bucket/runs")
