"""What a run says of itself, to a person and to a program."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from tests.store import recording as rec

from actrace.errors import PhaseNotFoundError
from actrace.store.describe import as_html, bytes_words, clean, seconds_words
from actrace.store.reader import open_run
from actrace.store.rows import LayerInfo, OutputInfo
from actrace.store.run import Run
from actrace.store.writer import RunWriter


@pytest.fixture
def run(tmp_path):
    writer = rec.new_writer(
        tmp_path / "mnist",
        attributes={
            "config": {"lr": 0.05, "batch": 64},
            "tags": ["demo", "cnn"],
            "host": "box7",
            "started": "2026-01-02T03:04:05+00:00",
            "skipped": {"attn": "fp8"},
        },
    )
    writer.declare_output("train", rec.OUTPUT)
    for index in range(25):
        writer.append_batch(rec.batch_row("train", index))
    for index in range(5):
        writer.append_batch(rec.batch_row("valid", index))
    writer.close(attributes={"ended": "2026-01-02T04:05:05+00:00", "lost_batches": {"train": 3}})
    return open_run(writer.path)


def test_text_tells_what_was_recorded(run):
    text = repr(run)
    lines = {line[2:11].strip(): line[11:] for line in text.splitlines()[1:]}
    assert text.splitlines()[0] == "actrace run mnist"
    assert lines["status"] == "finished"
    assert lines["started"] == "2026-01-02 03:04:05 UTC, took 1 h 1 min"
    assert lines["host"] == "box7"
    assert lines["phases"] == "train 25 batches, 3 epochs; valid 5 batches, 1 epoch"
    assert lines["layers"] == "3: layer0, layer1, layer2"
    assert lines["skipped"] == "attn"
    assert lines["axis"] == "4 bins, equally wide (0.5), -1 to 1"
    assert lines["output"] == "single-label of layer layer2, 2 classes: cat, dog"
    assert lines["config"] == "lr=0.05, batch=64"
    assert lines["tags"] == "demo, cnn"
    assert lines["lost"] == "3 batches of train"
    assert lines["on disk"].endswith("mnist.zarr")
    assert str(run) == text


def test_html_tells_the_same_and_unfolds_to_the_variables(run):
    page = run._repr_html_()
    for words in ("actrace run mnist", "single-label", "1 h 1 min", "activation_rate", "<details>"):
        assert words in page


def test_names_are_escaped_in_html_and_text(tmp_path):
    evil = "<script>alert(1)</script>\x1b[31m\n"
    writer = RunWriter.create(
        tmp_path / "a",
        axis=rec.AXIS,
        attributes={
            "config": {evil: evil},
            "tags": [evil],
            "host": evil,
            "lost_batches": {evil: 1},
        },
    )
    writer.declare_layers([LayerInfo(evil, evil)])
    writer.declare_output("train", OutputInfo(evil, "binary", (evil, "b"), (evil,)))
    writer.close(attributes={"status": evil, "skipped": {evil: evil}})
    run = open_run(writer.path)
    page = as_html(run)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "\x1b" not in page
    text = repr(run)
    assert "\x1b" not in text
    assert r"\x1b[31m\n" in text


def test_a_run_in_memory_has_no_directory(run):
    made = Run(dataset=xr.Dataset(attrs=dict(run.attrs)))
    assert made.directory is None
    assert repr(made).startswith("actrace run in memory")
    assert "no batch yet" in repr(made)
    assert "not declared yet" in repr(made)
    assert repr(Run()).startswith("actrace run in memory")


def test_a_run_answers_what_it_has(run):
    assert run.phases == ("train", "valid")
    assert run.n_batches("train") == 25
    assert run.epochs("train").tolist() == [0, 1, 2]
    assert run.epochs("train").dtype == np.int64
    assert run.axis == rec.AXIS
    assert run.lost_batches == {"train": 3}
    assert run.name == "mnist"
    assert run.directory.name == "mnist.zarr"
    assert run.output("train").attrs["layer"] == "layer2"
    assert run.output("valid") is None
    with pytest.raises(PhaseNotFoundError, match="phase 'test' is not in this run; it has 'train'"):
        run.phase("test")


def test_phases_come_in_the_order_of_their_first_batch(tmp_path):
    writer = rec.new_writer(tmp_path / "a")
    for phase in ("warmup", "train", "a_valid"):
        writer.append_batch(rec.batch_row(phase, 0))
    writer.close()
    assert open_run(writer.path).phases == ("warmup", "train", "a_valid")
    assert RunWriter.resume(writer.path).phases == ("warmup", "train", "a_valid")


def test_a_run_is_a_tree_that_xarray_can_use(run):
    assert isinstance(run, xr.DataTree)
    one = run["train"].sel(layer="layer1")
    np.testing.assert_array_equal(one["mean"].values, run["train"]["mean"].values[1])
    part = run.isel(layer=[0, 2])
    assert isinstance(part, Run)
    assert part.phases == run.phases
    assert repr(part)
    assert isinstance(run.copy(), Run)
    assert run.copy().directory == run.directory
    summed = run["train"]["count"].sum("bin")
    assert summed.chunks is not None
    assert run.layer.values.tolist() == ["layer0", "layer1", "layer2"]
    assert run.coords["layer_shape"].values.tolist() == ["2", "3", "4"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (75, "1 min 15 s"), (7260, "2 h 1 min"), (90_000, "1 d 1 h")],
)
def test_durations_in_words(seconds, words):
    assert seconds_words(seconds) == words


@pytest.mark.parametrize(
    ("size", "words"), [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (3e12, "3.0 TB")]
)
def test_sizes_in_words(size, words):
    assert bytes_words(size) == words


def test_long_names_are_cut():
    assert clean("x" * 300, 10) == "xxxxxxx..."
    assert clean("x" * 10, 10) == "x" * 10
    assert clean("\u202e\ud800") == r"\u202e\ud800"
