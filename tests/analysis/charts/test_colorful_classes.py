"""The colorful dimension by class: every element once, on one grid, whatever the windows."""

import holoviews as hv
import numpy as np
import pytest
from tests.synthetic import Batch, run_from_samples, synthetic_run

import actrace
from actrace.analysis.charts.colorful.classes_data import colorful_classes
from actrace.errors import ChartError, NotRecordedError


def known_run(window, n_batches=12, epochs=2):
    rng = np.random.default_rng(0)
    held = []
    for at in range(n_batches * epochs):
        target = rng.integers(0, 3, 20)
        outputs = rng.normal(0, 1 + at / 10, (20, 3))
        outputs[:2, 0] = np.nan
        held.append(Batch({"fc": outputs}, at // n_batches, target))
    return run_from_samples({"train": held}, window=window), held


@pytest.mark.parametrize("window", [1, 4])
@pytest.mark.parametrize("by", ["class", "unit"])
def test_columns_hold_every_output_of_their_batches_once(window, by):
    run, held = known_run(window)
    pictures = colorful_classes(run, by=by, max_columns=8)
    first, length = (pictures[0].no[name].values for name in ("first_batch", "batches"))
    assert length.sum() == len(held)
    for place, one in enumerate(pictures):
        for column, (start, n) in enumerate(zip(first, length, strict=True)):
            outputs = np.concatenate([b.activations["fc"] for b in held[start : start + n]])
            target = np.concatenate([b.target for b in held[start : start + n]])
            mine = target == place
            if by == "class":
                told = {"yes": outputs[mine, place], "no": np.delete(outputs[mine], place, 1)}
            else:
                told = {"yes": outputs[mine, place], "no": outputs[~mine, place]}
            for role, values in told.items():
                data = getattr(one, role).isel(column=column)
                whole = sum(float(data[part]) for part in ("below", "above", "nan"))
                whole += float(data["count"].sum())
                assert whole == pytest.approx(values.size)
                assert float(data["nan"]) == np.isnan(values).sum()
                if np.isfinite(values).any():
                    assert float(data["mean"]) == pytest.approx(np.nanmean(values))


def test_all_classes_share_one_grid_and_one_scale_of_colours():
    run, _ = known_run(1)
    edges = [one.yes["value_edge"].values for one in colorful_classes(run)]
    for edge in edges[1:]:
        np.testing.assert_array_equal(edge, edges[0])
    images = actrace.colorful_chart(run, by="class").traverse(lambda x: x, [hv.Image])
    limits = {hv.Store.lookup_options("bokeh", image, "plot").kwargs["clim"] for image in images}
    assert len(images) == 6
    assert len(limits) == 1


def test_it_draws_in_both_backends(tmp_path):
    run = synthetic_run(n_batches=5)
    for scale in ("linear", "asinh"):
        chart = actrace.colorful_chart(run, by="class", scale=scale, most=3)
        actrace.save_chart(chart, tmp_path / "a.png", dpi=30)
        assert "<script" in actrace.save_chart(chart, tmp_path / "a.html").read_text("utf-8")
    said = " ".join(
        str(text)
        for labels in chart.traverse(lambda x: x, [hv.Labels])
        for text in labels.dimension_values(2)
    )
    assert "3 worst of 4" in said


def test_what_cannot_be_drawn_is_refused(tmp_path):
    run = synthetic_run(n_batches=2)
    with pytest.raises(ChartError, match="'class' or 'unit'"):
        actrace.colorful_chart(run, by="layer")
    with pytest.raises(ChartError, match="leave layer="):
        actrace.colorful_chart(run, by="class", layer="fc")
    for other in (
        synthetic_run(n_batches=2, labelled=False),
        synthetic_run(n_batches=2, task="regression"),
    ):
        with pytest.raises(NotRecordedError):
            actrace.colorful_chart(other, by="class")
