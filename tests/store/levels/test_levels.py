"""A level equals the same merge of the batches, however they were written."""

from __future__ import annotations

import math

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.store import recording as rec

from actrace.store.levels import ladder as module
from actrace.store.reader import open_run
from actrace.store.rows import BatchRow, LayerInfo
from actrace.store.schema import COUNTERS, MOMENTS
from actrace.store.writer import RunWriter

NAMES = {v.name: at for at, v in enumerate(COUNTERS)}
REAL = {v.name: at for at, v in enumerate(MOMENTS)}


@pytest.fixture
def few(monkeypatch):
    """Levels that begin with their first column, so that short runs have some."""
    monkeypatch.setattr(module, "FEWEST", 1)


def a_row(index: int, seed: int = 0, *, huge: bool = False, **logged: float) -> BatchRow:
    """Return a batch in which some layers were not called, or saw nothing but NaN."""
    rng = np.random.default_rng((seed, index))
    row = BatchRow.empty(rec.N_LAYERS, rec.N_BINS)
    row.phase, row.step, row.epoch, row.time = "train", index, index // 7, 1.7e9 + index
    row.samples, row.logged = int(rng.integers(0, 9)), dict(logged)
    row.loss = float(rng.normal()) if rng.random() < 0.7 else math.nan
    for layer in range(rec.N_LAYERS):
        if rng.random() < 0.2:
            continue
        top = 2**33 if huge else 30
        row.count[layer] = rng.integers(0, top, rec.N_BINS)
        outside = ("underflow", "overflow", "nan", "posinf", "neginf")
        for name in outside:
            row.counters[NAMES[name], layer] = rng.integers(0, 3)
        if rng.random() < 0.2:
            row.count[layer] = 0
            row.counters[[NAMES["underflow"], NAMES["overflow"]], layer] = 0
        row.counters[NAMES["elements"], layer] = row.count[layer].sum() + sum(
            int(row.counters[NAMES[name], layer]) for name in outside
        )
        row.counters[NAMES["calls"], layer] = 1
        row.moments[REAL["norm"], layer] = rng.random()
        row.moments[REAL["activation_rate"], layer] = rng.random()
        row.moments[REAL["death_rate"], layer] = rng.random()
        if row.count[layer].any() or row.counters[NAMES["underflow"], layer]:
            mean, std = rng.normal(), rng.random()
            row.moments[:4, layer] = mean, std, mean - std, mean + std
    return row


def of_batches(phase: dict[str, np.ndarray], mine: slice, layer: int) -> dict[str, float]:
    """Return what some batches of a layer are together, one after another in Python."""
    rows = {
        name: values[layer, mine].tolist() for name, values in phase.items() if values.ndim == 2
    }
    found: dict[str, float] = {
        name: sum(rows[name]) for name in (*NAMES, "sampled") if name in rows
    }
    weight = rows.get("sampled", rows["elements"])
    finite = [
        w - sum(rows[name][i] for name in ("nan", "posinf", "neginf")) for i, w in enumerate(weight)
    ]
    used = [i for i, count in enumerate(finite) if count > 0]
    size = sum(finite[i] for i in used)
    mean = math.fsum(finite[i] * rows["mean"][i] for i in used) / size if size else math.nan
    squares = math.fsum(
        finite[i] * (rows["std"][i] ** 2 + (rows["mean"][i] - mean) ** 2) for i in used
    )
    found["mean"], found["std"] = mean, math.sqrt(squares / size) if size else math.nan
    for name, best in (("min", min), ("max", max), ("death_rate", min)):
        known = [value for value in rows[name] if not math.isnan(value)]
        found[name] = best(known) if known else math.nan
    for name in ("norm", "activation_rate"):
        known = [i for i, value in enumerate(rows[name]) if not math.isnan(value) and weight[i]]
        whole = sum(weight[i] for i in known)
        total = math.fsum(weight[i] * rows[name][i] for i in known)
        found[name] = total / whole if known else math.nan
    return found


def mean_of(values, weights):
    pairs = [(v, w) for v, w in zip(values, weights, strict=True) if not math.isnan(v) and w]
    return math.fsum(v * w for v, w in pairs) / sum(w for _, w in pairs) if pairs else math.nan


def assert_levels_of(path, *, logged: tuple[str, ...] = (), phase: str = "train") -> None:
    """Assert that every level that a run can have is there and right, all of it."""
    tree = xr.open_datatree(path, engine="zarr", decode_times=False)

    def group(name: str) -> dict[str, np.ndarray]:
        return {str(key): found.values for key, found in tree[name].dataset.data_vars.items()}

    raw, factor = group(phase), module.FIRST
    n = len(raw["step"])
    while n // factor >= module.FEWEST:
        level = group(f"levels/{phase}/x{factor}")
        assert level.keys() - raw.keys() == {"first_batch", "batches"}
        # What was logged since its last column only is not in it.
        shown = [name for name in logged if name in level]
        for name in raw.keys() - level.keys():
            assert name in logged
            assert np.isnan(raw[name][: n // factor * factor]).all()
        assert {values.shape[-1] for values in level.values()} == {n // factor}
        for column in range(n // factor):
            first = column * factor
            mine = slice(first, first + factor)
            batch = {name: raw[name][mine].tolist() for name in ("samples", "loss", *shown)}
            want = {
                "first_batch": first,
                "batches": factor,
                "step": raw["step"][first],
                "epoch": raw["epoch"][first],
                "time": raw["time"][mine][-1],
                "samples": sum(batch["samples"]),
                "loss": mean_of(batch["loss"], batch["samples"]),
                **{name: mean_of(batch[name], [1] * factor) for name in shown},
            }
            got = {name: level[name][column] for name in want}
            assert got == pytest.approx(want, rel=1e-12, nan_ok=True)
            np.testing.assert_array_equal(
                level["count"][..., column], raw["count"][..., mine].sum(-1, dtype=np.uint64)
            )
            for layer in range(len(raw["elements"])):
                want = of_batches(raw, mine, layer)
                got = {name: level[name][layer, column] for name in want}
                assert got == pytest.approx(want, rel=1e-9, abs=1e-12, nan_ok=True)
        factor *= module.STEP
    assert f"levels/{phase}/x{factor}" not in tree
    tree.close()


@st.composite
def histories(draw):
    """Lengths of what is written at once, each followed by nothing, a commit or a resume."""
    return draw(
        st.lists(
            st.tuples(st.integers(1, 150), st.sampled_from(["", "commit", "resume", "kill"])),
            min_size=1,
            max_size=6,
        )
    )


@settings(max_examples=15, deadline=None)
@given(
    history=histories(), seed=st.integers(0, 9), huge=st.booleans(), shard=st.sampled_from([16, 64])
)
def test_a_level_equals_the_merge_of_its_batches(tmp_path_factory, history, seed, huge, shard):
    """Over random batches, commits, resumes and kills, NaN and uncalled layers, 64 bits."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "FEWEST", 1)
        patch.setattr("actrace.store.group.LONGEST_SHARD", shard)
        patch.setattr("actrace.store.group.CHUNK_BYTES", 2048)
        layers = rec.LAYERS
        if huge:
            layers = (LayerInfo("layer0", "Linear", (2**23,), 0, 2), *rec.LAYERS[1:])
        writer = RunWriter.create(folder / "a", axis=rec.AXIS, attributes={})
        writer.declare_layers(layers)
        writer.commit()
        at = 0
        for length, then in history:
            late = {"late": float(at)} if at > 60 else {}
            rows = [a_row(at + i, seed, huge=huge, **late) for i in range(length)]
            writer.append_batches(rec.batch_rows(rows))
            at += length
            if then == "commit":
                writer.commit()
            elif then == "resume":
                writer.close()
                writer = RunWriter.resume(folder / "a")
            elif then == "kill":
                writer.release()
                writer = RunWriter.resume(folder / "a")
                at = writer.n_batches("train")
        writer.close()
        if at:
            with open_run(folder / "a") as run:
                logged = ("late",) if "late" in run["train"] else ()
            assert_levels_of(folder / "a.zarr", logged=logged)


def write(path, n: int, *, sampled: bool = False, levels: bool = True, **settings):
    """Write a run of `n` batches at once and return its path."""
    writer = RunWriter.create(path, axis=rec.AXIS, attributes=settings, levels=levels)
    writer.declare_layers(rec.LAYERS)
    rows = rec.batch_rows([a_row(index) for index in range(n)])
    if sampled:
        # A part of each layer was read, and what was not finite in it.
        elements = rows.counters[NAMES["elements"]]
        rows.sampled = elements.copy()
        rows.counters[NAMES["elements"]] = elements * (1 + np.arange(n)[:, None] % 3)
    writer.append_batches(rows)
    writer.close()
    return writer.path


def test_a_level_begins_where_it_is_of_use(tmp_path):
    for n, factors in ((1023, {}), (1024, {16: 64}), (4100, {16: 256, 64: 64})):
        path = write(tmp_path / str(n), n)
        with open_run(path) as run:
            assert run.levels("train") == factors
        assert_levels_of(path)


def test_a_level_of_a_run_that_was_read_in_part_is_of_that_part(tmp_path, few):
    path = write(tmp_path / "a", 70, sampled=True, sample={"mode": "all", "stride": 17})
    assert_levels_of(path)


def test_every_phase_has_levels_of_its_own(tmp_path, few):
    writer = rec.new_writer(tmp_path / "a")
    for index in range(40):
        writer.append_batch(rec.batch_row("train", index))
        if index % 2:
            writer.append_batch(rec.batch_row("valid", index))
    writer.close()
    with open_run(tmp_path / "a") as run:
        assert run.phases == ("train", "valid")
        assert {p: run.levels(p) for p in run.phases} == {"train": {16: 2}, "valid": {16: 1}}
        at = run.at_level("valid", 16)
        assert at["step"].values.tolist() == [1]


def test_a_count_that_outgrows_its_level_stops_the_level_and_not_the_run(tmp_path, few):
    writer = rec.new_writer(tmp_path / "a")
    row = rec.batch_row("train", 0)
    for index in range(48):
        row.counters[NAMES["elements"]] = 10 if index < 32 else 2**29
        writer.append_batch(row)
        writer.commit()
    writer.close()
    with open_run(tmp_path / "a") as run:
        assert run.n_batches("train") == 48
        assert run.levels("train") == {16: 2}


def test_levels_of_64_bits_where_the_first_columns_ask_for_them(tmp_path, few):
    writer = rec.new_writer(tmp_path / "a")
    row = rec.batch_row("train", 0)
    row.counters[NAMES["elements"]] = 2**29
    for _ in range(16):
        writer.append_batch(row)
    writer.close()
    with open_run(tmp_path / "a") as run:
        level = run.at_level("train", 16)
        assert level["count"].dtype == np.uint64
        assert (level["elements"] == 16 * 2**29).all()
