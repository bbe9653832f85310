"""`actrace.thin_run` leaves histograms to the levels, says so, and changes nothing else."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.store import recording as rec
from tests.store.checking import sound
from tests.store.rewriting import thinning
from tests.store.rewriting.test_compact import assert_same, document, names_in, plain
from tests.store.rewriting.thinning import FREE, blanks, columns

import actrace
from actrace.errors import DamagedRunError, LayerNotFoundError, StoreWriteError, ThinnedError
from actrace.store.manifest import read_manifest
from actrace.store.writer import RunWriter


@pytest.fixture(scope="module", autouse=True)
def short():
    """Short runs have levels, and a few batches fill a chunk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("actrace.store.levels.ladder.FEWEST", 1)
        patch.setattr("actrace.store.group.LONGEST_SHARD", 64)
        yield


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return thinning.write_run(tmp_path_factory.mktemp("source") / "a")


@pytest.fixture
def path(source, tmp_path):
    return shutil.copytree(source, tmp_path / "a.zarr")


def test_what_is_thinned_is_blank_and_all_else_is_as_it_was(path, source):
    before = plain(path)
    report = actrace.thin_run(path)
    assert report.changed
    assert report.bytes[1] < report.bytes[0]
    assert "merged by 16 alone" in repr(report)
    blank = blanks(path)
    for layer in blank:
        assert columns(layer) == FREE
    after = plain(path)
    for phase in ("train", "valid"):
        gone = blanks(path, phase)[:, np.newaxis]
        name = f"/{phase}/count"
        values, attributes = before[name]
        after[name] = (np.where(gone, values, after[name][0]), attributes)
    assert_same(after, before)
    told = document(path)["attributes"]
    assert set(told) - set(document(source)["attributes"]) == {"thinned"}
    assert told["thinned"]["train/count"] == [
        {"layers": None, "batches": [[0, 32], [64, 80], [112, 128], [160, 176]]}
    ]
    assert names_in(path.parent) == ["a.zarr"]


def test_the_thinned_run_is_whole_and_says_what_it_is(path):
    actrace.thin_run(path)
    report = actrace.check(path)
    assert report.whole
    assert any("train/count" in note and "thinned" in note for note in report.notes)
    with actrace.open(path) as run:
        assert "% of the histograms of train" in repr(run)
    assert actrace.runs(path.parent)["thinned"].tolist() == [True]


def test_reading_what_was_thinned_is_an_error_and_what_was_kept_is_right(path, source):
    actrace.thin_run(path)
    with actrace.open(path) as run, actrace.open(source) as whole:
        count, right = run["train"]["count"], whole["train"]["count"].values
        with pytest.raises(ThinnedError, match=r"were thinned.*run\.window\('train'"):
            count.compute()
        with pytest.raises(ThinnedError, match="batch 5 of phase 'train'"):
            count.isel(layer=1, batch=5).compute()
        np.testing.assert_array_equal(count[..., 32:64].values, right[..., 32:64])
        np.testing.assert_array_equal(count[1, :, 176:].sum().values, right[1, :, 176:].sum())
        xr.testing.assert_identical(run["train"]["mean"].load(), whole["train"]["mean"].load())


def test_a_window_that_was_thinned_is_the_level_there(path, source):
    actrace.thin_run(path, keep_layers="layer1")
    with actrace.open(path) as run, actrace.open(source) as whole:
        level = run.window("train", 10, 40, width=25)
        assert level.attrs["factor"] == 16
        assert level["first_batch"].values.tolist() == [0, 16, 32]
        right = whole["train"]["count"][..., :48].values.reshape(3, rec.N_BINS, 3, 16).sum(-1)
        np.testing.assert_array_equal(level["count"].values, right)
        for kept in (
            run.window("train", 10, 40, width=25, layers="layer1"),
            run.window("train", 32, 60, width=25),
        ):
            assert kept.attrs["factor"] == 1
            kept["count"].compute()


@pytest.mark.parametrize(
    ("asked", "free"),
    [
        ({"keep_epochs": [0]}, [4, 7, 10]),
        ({"keep_epochs": -1}, [0, 1, 4, 7]),
        ({"keep_epochs": [0, -1]}, [4, 7]),
        ({"keep_steps": (70, 71)}, [0, 1, 7, 10]),
        ({"keep_steps": (None, 20)}, [4, 7, 10]),
        ({"keep_steps": (112, None)}, [0, 1, 4]),
        ({"keep_epochs": [0, 1], "keep_steps": (40, 200)}, [0, 1, 7, 10]),
        ({"keep_layers": "*"}, []),
    ],
)
def test_what_is_named_is_kept(path, asked, free):
    report = actrace.thin_run(path, **asked)
    assert [columns(layer) for layer in blanks(path)] == [free] * rec.N_LAYERS
    assert report.changed == bool(free)


def test_layers_are_kept_in_the_epochs_that_are(path):
    actrace.thin_run(path, keep_epochs=[0], keep_layers=["layer0", "*2"])
    assert [columns(layer) for layer in blanks(path)] == [[4, 7, 10], FREE, [4, 7, 10]]
    assert {
        tuple(part["layers"]) for part in document(path)["attributes"]["thinned"]["train/count"]
    } == {
        (0, 2),
        (1,),
    }
    assert actrace.check(path).whole


def test_a_second_thinning_goes_further_and_never_back(path):
    actrace.thin_run(path, keep_epochs=[0, 1])
    actrace.thin_run(path, keep_epochs=[1, 2])
    assert [columns(layer) for layer in blanks(path)] == [[0, 1, 7, 10]] * rec.N_LAYERS
    assert not actrace.thin_run(path, keep_epochs=[0, 1]).changed
    actrace.thin_run(path)
    assert [columns(layer) for layer in blanks(path)] == [FREE] * rec.N_LAYERS
    assert actrace.check(path).whole


def test_the_old_run_stays_where_an_output_is_given(path, source):
    report = actrace.thin_run(path, path.with_name("b"))
    assert_same(plain(path), plain(source))
    assert document(path) == document(source)
    assert actrace.check(report.path).whole
    assert [columns(layer) for layer in blanks(report.path)] == [FREE] * rec.N_LAYERS


def test_levels_that_are_missing_are_built_first(tmp_path):
    path = thinning.write_run(tmp_path / "a", levels=False)
    actrace.thin_run(path)
    assert [columns(layer) for layer in blanks(path)] == [FREE] * rec.N_LAYERS
    assert actrace.check(path).whole


def test_a_short_phase_stays(tmp_path, monkeypatch):
    monkeypatch.setattr("actrace.store.levels.ladder.FEWEST", 64)
    path = thinning.write_run(tmp_path / "a", 60)
    report = actrace.thin_run(path)
    assert not report.changed
    assert "60 batches stay" in repr(report)


def test_a_training_goes_on_in_a_thinned_run(path, tmp_path):
    actrace.thin_run(path)
    writer = RunWriter.resume(path)
    whole = thinning.write_run(tmp_path / "b", 300)
    for index in range(200, 300):
        row = sound.batch_row("train", index)
        row.epoch = index // thinning.EPOCH
        writer.append_batch(row)
    writer.close()
    assert actrace.check(path).whole
    with actrace.open(path) as run, actrace.open(whole) as right:
        assert run.n_batches("train") == 300
        for factor in run.levels("train"):
            one, two = run.at_level("train", factor), right.at_level("train", factor)
            xr.testing.assert_equal(one.load(), two.load())
        np.testing.assert_array_equal(
            run["train"]["count"][..., 176:].values, right["train"]["count"][..., 176:].values
        )
    actrace.thin_run(path)
    assert columns(blanks(path)[0]) == [*FREE, 13, 16]
    assert actrace.check(path).whole


def test_a_thinned_run_is_compacted_exported_and_repaired(path, tmp_path):
    actrace.thin_run(path, keep_epochs=[0], keep_layers="layer0")
    before, marks = plain(path), document(path)["attributes"]["thinned"]
    actrace.compact_run(path)
    assert_same(plain(path), before)
    exported = actrace.export_run(path, tmp_path / "c")
    assert_same(plain(exported), before)
    with actrace.open(actrace.export_run(path, tmp_path / "c.zip")) as run:
        run["train"]["count"][0, :, :32].compute()
        with pytest.raises(ThinnedError):
            run["train"]["count"][1, :, :32].compute()
    report = actrace.repair(path)
    assert report.lost == {}
    assert_same(plain(report.path), before)
    assert document(report.path)["attributes"]["thinned"] == marks


def test_a_damaged_chunk_of_a_thinned_run_costs_what_was_kept_in_it_alone(path, source):
    actrace.thin_run(path)
    (path / "train/count/c/0/0/0").unlink()
    assert not actrace.check(path).whole
    report = actrace.repair(path)
    lost = [(one.start, one.stop) for one in report.lost["train/count"]]
    assert lost == [(32, 64)]
    assert blanks(report.path)[:, :32].all()
    assert report.check.whole
    # Nobody knows what of a level is made of what was lost: its batches are not thinned.
    again = actrace.thin_run(report.path)
    assert not again.changed


def test_a_level_that_is_wrong_is_told_while_it_can_be(path):
    entry = read_manifest(path).arrays["levels/train/x16/count"]
    file = path / entry.key((0, 0, 0))
    rows = entry.layout.decode(file.read_bytes(), "it").copy()
    rows[0, 0, 0] += 1  # the sum stays as it is
    rows[0, 0, 1] -= 1
    file.write_bytes(entry.layout.encode(rows[: entry.shape[-1]]))
    with pytest.raises(DamagedRunError, match=r"not thinned: levels/train/x16/count"):
        actrace.thin_run(path)


def test_what_is_lost_of_a_level_is_not_thinned(path):
    (path / "levels/train/x16/count/c/0/0/0").unlink()
    actrace.repair(path, in_place=True)
    actrace.thin_run(path)
    assert not blanks(path).any()
    assert blanks(path, "valid").any()


def test_a_file_that_is_older_than_the_commit_is_still_told(path):
    actrace.thin_run(path, keep_layers="layer2")
    file = path / "train/count/c/0/0/3"  # batches 192 to 199, none of them thinned
    writer = RunWriter.resume(path)
    old = file.read_bytes()
    row = sound.batch_row("train", 200)
    row.epoch = 3
    writer.append_batch(row)
    writer.close()
    file.write_bytes(old)
    with actrace.open(path) as run, pytest.raises(DamagedRunError, match="older than the commit"):
        run["train"]["count"][2, :, 192:].compute()
    assert "older than the commit" in repr(actrace.check(path))


@pytest.mark.parametrize(
    "said",
    [
        3,
        {"train/count": 3},
        {"train/count": [3]},
        {"train/count": [{"layers": None}]},
        {"train/count": [{"layers": None, "batches": []}]},
        {"train/count": [{"layers": None, "batches": [[0, 16, 32]]}]},
        {"train/count": [{"layers": None, "batches": [[16, 0]]}]},
        {"train/count": [{"layers": None, "batches": [[0, 8]]}]},
        {"train/count": [{"layers": None, "batches": [[0, 1600]]}]},
        {"train/count": [{"layers": [0, 99], "batches": [[0, 16]]}]},
        {"train/count": [{"layers": [], "batches": [[0, 16]]}]},
        {"train/count": [{"layers": [1.5], "batches": [[0, 16]]}]},
        {"train/count": [{"layers": [0], "batches": [[0, 16]]}] * 2},
        {"train/mean": [{"layers": None, "batches": [[0, 16]]}]},
        {"other/count": [{"layers": None, "batches": [[0, 16]]}]},
    ],
)
def test_marks_that_no_thinning_writes_are_damage(path, said):
    text = document(path)
    text["attributes"]["thinned"] = said
    (path / "zarr.json").write_text(json.dumps(text))
    with pytest.raises(DamagedRunError, match="attribute 'thinned' is not valid"):
        actrace.open(path)
    with pytest.raises(DamagedRunError, match="'thinned'"):
        actrace.check(path)


def test_what_cannot_be_asked_is_refused(path):
    with pytest.raises(LayerNotFoundError, match="it has 'layer0'"):
        actrace.thin_run(path, keep_layers="conv*")
    with pytest.raises(ValueError, match="first < stop"):
        actrace.thin_run(path, keep_steps=(5, 5))


def test_a_full_disk_leaves_the_run_as_it_was(path, monkeypatch):
    before = {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}

    def refuse(self, name, data):
        raise StoreWriteError("cannot write: No space left on device")

    monkeypatch.setattr("actrace.store.files.RunFiles.write", refuse)
    with pytest.raises(StoreWriteError, match="No space left"):
        actrace.thin_run(path)
    assert {p: p.read_bytes() for p in path.rglob("*") if p.is_file()} == before


def test_the_ranks_of_a_run_are_thinned_one_by_one(source, tmp_path):
    for rank in range(2):
        shutil.copytree(source, tmp_path / "a" / f"rank-{rank}.zarr")
    report = actrace.thin_run(tmp_path / "a", keep_epochs=[0])
    assert len(report.ranks) == 2
    with actrace.open(tmp_path / "a") as run, actrace.open(source) as whole:
        right = 2 * whole["train"]["count"][..., :40].values
        np.testing.assert_array_equal(run["train"]["count"][..., :40].values, right)
        with pytest.raises(ThinnedError):
            run["train"]["count"][..., 64:80].compute()


@settings(max_examples=8, deadline=None)
@given(
    n=st.integers(1, 160),
    epoch=st.integers(2, 90),
    first=st.integers(0, 120),
    length=st.integers(1, 100),
    layers=st.sampled_from([None, ["layer0"], ["layer0", "layer2"]]),
    shard=st.sampled_from([16, 64]),
)
def test_any_thinned_run_says_what_is_gone_and_has_the_rest(
    tmp_path_factory, n, epoch, first, length, layers, shard
):
    folder = tmp_path_factory.mktemp("any")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("actrace.store.group.LONGEST_SHARD", shard)
        path = thinning.write_run(folder / "a", n, epoch=epoch)
    before = plain(path)
    actrace.thin_run(path, keep_steps=(first, first + length), keep_layers=layers)
    after = plain(path)
    for phase in ("train", "valid"):
        if f"/{phase}/count" not in before:
            continue
        values = before[f"/{phase}/count"][0]
        blank = blanks(path, phase)
        kept = blank[[0, 2] if layers == ["layer0", "layer2"] else [0] if layers else [0, 1, 2]]
        step = before[f"/{phase}/step"][0]
        assert not kept[:, (step >= first) & (step < first + length)].any()
        for layer in blank:
            columns(layer)
        np.testing.assert_array_equal(
            after[f"/{phase}/count"][0].transpose(0, 2, 1)[~blank],
            values.transpose(0, 2, 1)[~blank],
        )
        # Every batch that is gone is in a column of the finest level.
        if blank.any():
            level = after[f"/levels/{phase}/x16/count"][0]
            whole = values[..., : level.shape[-1] * 16].reshape(*values.shape[:2], -1, 16)
            np.testing.assert_array_equal(level, whole.sum(-1))
            assert not blank[:, level.shape[-1] * 16 :].any()
    assert actrace.check(path).whole
