"""Gradient charts: the norms are those of the gradients, and both backends draw them."""

import holoviews as hv
import numpy as np
import pytest
import xarray as xr
from tests.synthetic import run_from_samples, synthetic_run

from actrace.analysis.charts.colorful.data import colorful_data
from actrace.analysis.charts.gradients.gradients import gradients_chart
from actrace.analysis.charts.gradients.gradients_data import gradient_norms, gradient_run
from actrace.analysis.charts.showing.save import save_chart
from actrace.analysis.findings.finding import Finding
from actrace.errors import ChartError, LayerNotFoundError, NotRecordedError
from actrace.store.axis import Asinh

NAMES = ["a.weight", "a.bias", "$b$.weight"]
SIZES = (60, 4, 24)
COUNTERS = ("underflow", "overflow", "nan", "posinf", "neginf", "zero", "elements")


@pytest.fixture(scope="module")
def gradients():
    """Gradients of three parameters in twelve batches; one has none in batch 5."""
    rng = np.random.default_rng(0)
    made = [
        [rng.normal(0.0, 10.0 ** (-6 + 2 * p), size) for _ in range(12)]
        for p, size in enumerate(SIZES)
    ]
    made[1][5] = np.zeros(0)
    return made


@pytest.fixture(scope="module")
def run(gradients):
    run = synthetic_run(n_batches=4)
    axis = Asinh(-1000.0, 1000.0, 512, 1e-8)
    n = run["train"].sizes["batch"]
    count = np.zeros((3, 512, n), np.uint32)
    values = {name: np.zeros((3, n), np.uint32) for name in COUNTERS}
    moments = {
        name: np.full((3, n), np.nan, np.float32) for name in ("mean", "std", "min", "max", "norm")
    }
    for p, batches in enumerate(gradients):
        for j, x in enumerate(batches):
            count[p, :, j] = np.histogram(x, axis.edges)[0]
            values["elements"][p, j] = x.size
            if x.size:
                for name in ("mean", "std", "min", "max"):
                    moments[name][p, j] = getattr(np, name)(x)
                moments["norm"][p, j] = np.linalg.norm(x)
    data = {"count": (("parameter", "gradient_bin", "batch"), count)}
    data |= {name: (("parameter", "batch"), v) for name, v in (values | moments).items()}
    coords = {
        "parameter": NAMES,
        "parameter_shape": ("parameter", ["12x5", "4", "6x4"]),
        "gradient_bin_left": ("gradient_bin", axis.left),
        "gradient_bin_right": ("gradient_bin", axis.right),
    }
    run["train/gradient"] = xr.Dataset(data, coords=coords, attrs={"axis": axis.to_dict()})
    return run


def words(chart):
    labels = chart.traverse(lambda x: x, [hv.Labels])
    return " ".join(str(text) for some in labels for text in some.dimension_values(2))


def test_sizes_are_those_of_the_gradients(run, gradients):
    rms = gradient_norms(run)
    norm = gradient_norms(run, measure="norm")
    for p, batches in enumerate(gradients):
        for j, x in enumerate(batches):
            if not x.size:
                assert np.isnan(rms["size"].values[p, j])
                continue
            assert rms["size"].values[p, j] == pytest.approx(np.sqrt(np.mean(x**2)), rel=1e-5)
            assert norm["size"].values[p, j] == pytest.approx(np.linalg.norm(x), rel=1e-5)
    assert rms["epoch_start"].values.tolist() == [0, 4, 8]


def test_a_column_is_the_mean_square_of_its_batches_that_have_a_gradient(run, gradients):
    data = gradient_norms(run, parameters="a.bias", max_columns=3)
    squares = [np.mean(x**2) if x.size else np.nan for x in gradients[1]]
    want = [np.sqrt(np.nanmean(squares[i : i + 4])) for i in (0, 4, 8)]
    np.testing.assert_allclose(data["size"].values[0], want, rtol=1e-5)


def test_a_gradient_that_is_not_finite_has_no_size(run):
    broken = run.copy()
    group = run["train/gradient"].to_dataset(inherit=False).copy(deep=True)
    group["norm"][0, 3] = np.inf
    broken["train/gradient"] = group
    assert np.isnan(gradient_norms(broken)["size"].values[0, 3])


def test_histograms_hold_every_element(run):
    tree = gradient_run(run, "train")
    for p, name in enumerate(NAMES):
        data = colorful_data(tree, layer=name, scale="asinh", density=False)
        drawn = data["count"].sum("value") + data["below"] + data["above"]
        np.testing.assert_allclose(drawn, data["elements"])
        assert data["elements"].values[0] == SIZES[p]
        assert data["shown"].attrs["long_name"] == "elements per cell"
    assert data.attrs["quantity"] == "gradient"


def test_the_map_has_a_row_a_parameter_the_first_on_top(run):
    chart = gradients_chart(run)
    image = chart.traverse(lambda x: x, [hv.Image])[-1]
    drawn = image.dimension_values(2, flat=False)
    # The smallest gradients are those of the first parameter, at the top.
    middle = np.nanmean(np.log10(drawn), axis=1)
    assert (np.diff(middle) != 0).all()
    assert image[1.5, 2.5] < image[1.5, 0.5]
    assert "no finite gradient" in words(chart)


def test_a_finding_is_marked_in_the_row_of_its_parameter(run):
    assert "finding" not in words(gradients_chart(run))
    findings = [
        Finding("vanishing", "warning", "seen", layer="a.bias", phase="train", first_step=2),
        Finding("exploding", "error", "in another phase", layer="a.bias", phase="valid"),
        Finding("dead-layer", "error", "in a layer", layer="fc"),
    ]
    chart = gradients_chart(run, findings=findings)
    (box,) = [one for one in chart.traverse(lambda x: x, [hv.Rectangles]) if one.vdims]
    first, low, stop, _ = (box.dimension_values(i)[0] for i in range(4))
    assert (first, stop) == (2, 3)
    assert int(low) == 1, "the second row from the foot"
    assert list(box.dimension_values("said_what")) == ["seen"]
    assert "finding: warning" in words(chart)


def test_both_backends_draw_map_tiles_and_one_large(run, tmp_path):
    findings = [Finding("vanishing", "warning", "seen", layer="a.weight", first_step=2)]
    charts = [
        gradients_chart(run, findings=findings),
        gradients_chart(run, histograms=True),
        gradients_chart(run, parameter="a.weight", findings=findings),
    ]
    assert "vanishing" in words(charts[2])
    for i, chart in enumerate(charts):
        assert save_chart(chart, tmp_path / f"{i}.png", dpi=30).stat().st_size > 1000
        save_chart(chart, tmp_path / f"{i}.html")


def test_what_cannot_be_drawn_is_refused(run):
    with pytest.raises(ChartError, match="not both"):
        gradients_chart(run, parameter="a.bias", parameters="a.*")
    with pytest.raises(ChartError, match="fits 2 parameters"):
        gradients_chart(run, parameter="a.*")
    with pytest.raises(ChartError, match="'rms', 'norm'"):
        gradients_chart(run, measure="size")
    with pytest.raises(LayerNotFoundError, match="c"):
        gradients_chart(run, parameters="c")
    with pytest.raises(NotRecordedError, match="gradients=True"):
        gradients_chart(synthetic_run(n_batches=2))
    assert "no batch" in words(gradients_chart(run_from_samples({}, layers=["a"])))
