"""The charts themselves: they draw in both backends, say what is what, and leak nothing."""

import json
import re
import struct
import subprocess
import sys
import xml.etree.ElementTree as ET

import holoviews as hv
import numpy as np
import pytest
from tests.synthetic import Batch, run_from_samples, synthetic_run

import actrace
from actrace.analysis.charts.colorful.colorful import colorful_chart
from actrace.analysis.charts.peaks.twin_peaks import twin_peaks_chart
from actrace.analysis.charts.showing.save import save_chart
from actrace.errors import ChartError, LayerNotFoundError, PhaseNotFoundError

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture(scope="module")
def run():
    return synthetic_run(n_batches=6, n_layers=4)


def odd_run(n_batches=3, names=("never", HOSTILE, "$x^2$ {a} $$b$$ \\(c\\) \n\u202e\x1b")):
    rng = np.random.default_rng(0)
    layers = {
        "zeros": lambda: np.zeros((4, 3)),
        "nan": lambda: np.full((4, 3), np.nan),
        "some": lambda: np.where(rng.random((4, 3)) < 0.5, np.nan, 1e9),
        "low": lambda: rng.normal(-999.0, 5.0, (4, 3)),
        names[1]: lambda: rng.normal(0, 1, (4, 3)),
        names[2]: lambda: rng.normal(0, 1, (4, 3)),
        "out": lambda: rng.normal(0, 1, (4, 3)),
    }
    batches = [Batch({k: make() for k, make in layers.items()}, i) for i in range(n_batches)]
    return run_from_samples({"train": batches}, layers=[names[0], *layers], units=False)


def png_size(path):
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", data[16:24])


def titles(layout, backend):
    options = hv.Store.lookup_options
    return [str(options(backend, cell, "plot").kwargs.get("title", "")) for cell in layout]


def elements(layout, kind):
    return layout.traverse(lambda x: x, [kind])


def words(layout):
    found = elements(layout, hv.Labels)
    return " ".join(str(text) for labels in found for text in labels.dimension_values(2))


def test_png_is_as_large_as_the_chart_says(run, tmp_path):
    chart = colorful_chart(run, layer="fc")
    inches = hv.Store.lookup_options("matplotlib", chart, "plot").kwargs["fig_inches"]
    for dpi in (50, 100):
        path = save_chart(chart, tmp_path / "fc.png", dpi=dpi)
        assert png_size(path) == pytest.approx([x * dpi for x in inches], abs=1.5)


@pytest.mark.parametrize("make", [colorful_chart, twin_peaks_chart])
def test_html_needs_no_network(make, run, tmp_path):
    page = save_chart(make(run), tmp_path / "new" / "chart.html").read_text("utf-8")
    assert not re.search(
        r"<(script|link|img|iframe)[^>]*(src|href)\s*=\s*[\"']?\s*(https?:)?//", page
    )
    assert not re.search(r"@import|url\(\s*[\"']?https?:", page)
    assert "<script" in page


def documents(page):
    """Return the text of the page outside its own scripts, and the chart's document."""
    scripts = re.findall(r"<script\b([^>]*)>(.*?)</script>", page, flags=re.S)
    found = [text for kind, text in scripts if "application/json" in kind]
    return re.sub(r"<script\b[^>]*>.*?</script>", "", page, flags=re.S), found


def test_a_hostile_layer_name_stays_text(tmp_path):
    run = odd_run()
    for name, chart in {
        "tiles": colorful_chart(run),
        "large": colorful_chart(run, layer=HOSTILE),
        "peaks": twin_peaks_chart(run, layer=HOSTILE),
    }.items():
        page = save_chart(chart, tmp_path / f"{name}.html").read_text("utf-8")
        outside, found = documents(page)
        assert "alert(" not in outside
        assert len(found) == 1
        assert "<script>alert" not in found[0]
        # bokeh sets a title's text as text, but a Div's as HTML.
        for div in re.findall(r'"name":"Div".*?"text":"(.*?[^\\])"', found[0]):
            assert "<script>alert" not in json.loads(f'"{div}"').replace("&amp;", "&").replace(
                "&lt;span", ""
            ).replace("<span", "")
        save_chart(chart, tmp_path / f"{name}.png", dpi=40)


def test_odd_names_are_drawn_as_they_stand():
    chart = colorful_chart(odd_run())
    drawn = "\n".join(titles(chart, "matplotlib"))
    assert r"\$x^2\$ {{a}}" in drawn
    assert "\u202e" not in drawn
    bokeh = "\n".join(titles(chart, "bokeh"))
    assert "$$" not in bokeh
    assert r"\(" not in bokeh


def test_a_layer_named_with_control_characters_is_drawn(tmp_path):
    run = run_from_samples({"train": [Batch({"a": np.eye(3), "\x1b[31mb\x00c": np.eye(3)})]})
    for name, chart in {
        "tiles": colorful_chart(run),
        "one": colorful_chart(run, layer="*c"),
    }.items():
        assert "\x1b" not in "".join(titles(chart, "matplotlib"))
        save_chart(chart, tmp_path / f"{name}.png", dpi=40)


def test_every_odd_layer_has_a_tile_that_says_what_it_is(tmp_path):
    chart = colorful_chart(odd_run())
    said = words(chart)
    for note in ("never called", "zero throughout", "NaN throughout", "all outside the axis"):
        assert note in said
    width, height = png_size(save_chart(chart, tmp_path / "odd.png", dpi=40))
    assert width > 300
    assert height > 300


def test_one_batch_and_empty_runs_draw(tmp_path):
    one, empty = odd_run(n_batches=1), run_from_samples({}, layers=["a"])
    for i, chart in enumerate(
        [
            colorful_chart(one, scale="asinh"),
            colorful_chart(one, layer="out"),
            colorful_chart(one, layer="never", scale="asinh"),
            twin_peaks_chart(one),
            colorful_chart(empty),
            twin_peaks_chart(empty),
        ]
    ):
        save_chart(chart, tmp_path / f"{i}.png", dpi=30)
        save_chart(chart, tmp_path / f"{i}.html")


def test_an_empty_run_says_so():
    empty = run_from_samples({}, layers=["a"])
    assert "no batch has been recorded yet" in words(colorful_chart(empty))
    assert "no batch has been recorded yet" in words(twin_peaks_chart(empty))


def test_a_phase_declared_before_its_first_batch_says_so():
    run = synthetic_run(n_batches=2)
    run["train"] = run["train"].to_dataset(inherit=False).isel(batch=slice(0))
    assert "no batch of phase 'train'" in words(colorful_chart(run))


def test_titles_hold_name_type_and_shape(run):
    (first, *_) = titles(colorful_chart(run, layer="conv1"), "matplotlib")
    assert first.split("\n") == ["conv1 · Layer · 6\u00d73\u00d73", "train · 18 batches"]
    tiles = titles(colorful_chart(run), "bokeh")
    assert tiles[:4] == [f"conv{i}\nLayer · 6\u00d73\u00d73" for i in range(3)] + ["fc\nLayer · 4"]


def test_tiles_are_images_with_value_ticks_and_their_own_axes(run):
    chart = colorful_chart(run, layers="conv*", max_columns=5)
    images = elements(chart, hv.Image)
    assert len(images) == 3
    assert not elements(chart, hv.QuadMesh)
    assert len({str(image.kdims[1]) for image in images}) == 3
    for image in images:
        assert image.interface.shape(image, gridded=True)[1] == 5
        left, bottom, right, top = image.bounds.lbrt()
        assert left == 0
        assert right == 20
        assert bottom < 0 < top


def test_the_key_says_what_each_line_is(run):
    said = words(colorful_chart(run, layer="fc"))
    for mark in ("mean", "mean ± std", "min and max", "zero", "epoch begins", "log scale"):
        assert mark in said
    assert "no element lies outside the picture" in said
    said = words(twin_peaks_chart(run))
    for mark in ("yes, train", "no, valid", "zero", "last quarter of"):
        assert mark in said


def test_epoch_zero_and_mean_lines_stand_where_they_should(run):
    chart = colorful_chart(run, layer="fc")
    curves = elements(next(iter(chart)), hv.Curve)
    uprights = curves[0].dimension_values(0)
    assert set(uprights[~np.isnan(uprights)]) == {6.0, 12.0}
    assert (curves[1].dimension_values(1) == 0).all()
    mean = run["train/mean"].sel(layer="fc").values
    np.testing.assert_allclose(curves[-1].dimension_values(1), mean, rtol=1e-6)
    np.testing.assert_allclose(curves[-1].dimension_values(0), np.arange(18) + 0.5)


def test_understanding_stands_in_the_panels_title():
    run = synthetic_run(n_batches=8)
    table = actrace.twin_peaks(run).compute()
    want = [float(table["understanding"].sel(phase=p, epoch=2)) for p in ("train", "valid")]
    last = titles(twin_peaks_chart(run), "bokeh")[2]
    assert last.split("\n")[:2] == ["epoch 2", f"understanding {want[0]:.2f} / {want[1]:.2f}"]
    assert "accuracy" in last


def test_a_regression_says_it_has_no_yes_and_no():
    chart = twin_peaks_chart(synthetic_run(n_batches=3, task="regression"))
    title = hv.Store.lookup_options("matplotlib", chart, "plot").kwargs["title"]
    assert "no yes and no" in title


def test_many_epochs_are_twelve_panels():
    chart = twin_peaks_chart(synthetic_run(n_batches=1, epochs=30, samples=8))
    panels = [title for title in titles(chart, "bokeh") if title.startswith("epoch")]
    assert len(panels) == 12


def test_charts_can_be_composed_further(run, tmp_path):
    chart = colorful_chart(run, layer="fc")
    tile = next(iter(colorful_chart(run, layers="conv*")))
    save_chart(tile * hv.Curve([(0, 0), (18, 1)]), tmp_path / "over.png", dpi=40)
    both = chart + twin_peaks_chart(run, epochs=0)
    assert len(both) == 5
    save_chart(both, tmp_path / "both.png", dpi=40)
    save_chart((tile + tile) + chart, tmp_path / "four.png", dpi=40)
    save_chart((tile + tile).cols(1), tmp_path / "two.html")


def test_svg_is_a_drawing(run, tmp_path):
    path = save_chart(twin_peaks_chart(run), str(tmp_path / "peaks.svg"))
    assert ET.fromstring(path.read_text("utf-8")).tag.endswith("svg")


def test_other_suffixes_are_refused_with_those_that_work(run, tmp_path):
    chart = twin_peaks_chart(run)
    for name in ("a.jpg", "a", "a.png.txt"):
        with pytest.raises(ChartError, match=r"\.png.*\.svg.*\.html"):
            save_chart(chart, tmp_path / name)
    with pytest.raises(ChartError, match="dict"):
        save_chart({}, tmp_path / "a.png")
    with pytest.raises(ChartError, match="dpi"):
        save_chart(chart, tmp_path / "a.png", dpi=0)
    assert not list(tmp_path.iterdir())


def test_a_failed_save_leaves_the_old_file(run, tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr("actrace.analysis.charts.showing.save._figure", fail)
    with pytest.raises(OSError, match="disk full"):
        save_chart(twin_peaks_chart(run), path)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_what_cannot_be_drawn_is_refused(run):
    with pytest.raises(ChartError, match="not both"):
        colorful_chart(run, layer="fc", layers="fc")
    with pytest.raises(ChartError, match="fits 3 layers"):
        colorful_chart(run, layer="conv*")
    with pytest.raises(ChartError, match="across"):
        colorful_chart(run, across=0)
    with pytest.raises(ChartError, match="across"):
        twin_peaks_chart(run, across=0)
    with pytest.raises(LayerNotFoundError, match="fc9"):
        colorful_chart(run, layers=["fc9"])
    with pytest.raises(PhaseNotFoundError, match="test"):
        colorful_chart(run, phase="test")


def test_drawing_selects_no_backend_and_leaves_no_figure_open(run, tmp_path):
    import matplotlib.pyplot as plt

    before, figures = hv.Store.current_backend, plt.get_fignums()
    chart = colorful_chart(run)
    save_chart(chart, tmp_path / "a.png", dpi=30)
    save_chart(chart, tmp_path / "a.html")
    assert hv.Store.current_backend == before
    assert plt.get_fignums() == figures


def test_data_modules_and_the_package_load_no_chart_library():
    code = (
        "import sys, actrace, actrace.analysis.charts.colorful.data, "
        "actrace.analysis.charts.peaks.twin_peaks_data; "
        "bad = {'holoviews', 'bokeh', 'matplotlib', 'panel', 'torch'} & set(sys.modules); "
        "sys.exit(f'loaded {sorted(bad)}' if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
