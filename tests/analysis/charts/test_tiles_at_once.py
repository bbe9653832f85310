"""Tiles are drawn at once as HoloViews would draw them, and by HoloViews once they are changed."""

import io

import holoviews as hv
import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image
from tests.analysis.charts.test_chart_pictures import odd_run
from tests.synthetic import run_from_samples, synthetic_run

from actrace.analysis.charts.colorful.colorful import colorful_chart
from actrace.analysis.charts.colorful.tile import tile_frame
from actrace.analysis.charts.findings.marked_data import Mark
from actrace.analysis.charts.grammar.canvas import coloured
from actrace.analysis.charts.showing.drawn import figure_of
from actrace.analysis.charts.showing.save import save_chart
from actrace.analysis.findings.finding import Finding

DPI = 60


def marked():
    findings = [
        Finding(name, "warning", "seen", layer="conv0", phase="train", first_step=2, last_step=9)
        for name in ("a", "b", "c", "d")
    ]
    findings.append(Finding("dead", "error", "seen", layer="fc", phase="train", first_step=17))
    return colorful_chart(synthetic_run(n_batches=6, n_layers=3), findings=findings)


CHARTS = {
    "odd": lambda: colorful_chart(odd_run()),
    "asinh": lambda: colorful_chart(odd_run(), scale="asinh"),
    "one batch": lambda: colorful_chart(odd_run(n_batches=1), across=2),
    "one tile": lambda: colorful_chart(synthetic_run(n_batches=2), layers="fc"),
    "in columns": lambda: colorful_chart(synthetic_run(n_batches=20), across=1, max_columns=16),
    "marked": marked,
}


def said(figure):
    """Return the words of a drawn figure and where the middle of each stands, pixels."""
    figure.draw_without_rendering()
    found = []
    unseen = set()
    for axes in figure.axes:
        # matplotlib holds ticks beyond the ends of an axis, which it does not draw.
        for inside in (axes, *axes.child_axes):
            for axis in (inside.xaxis, inside.yaxis):
                low, high = sorted(axis.get_view_interval())
                labels = zip(axis.get_majorticklocs(), axis.get_ticklabels(), strict=True)
                unseen |= {id(label) for at, label in labels if not low <= at <= high}
                unseen |= set() if axis.get_visible() else set(map(id, axis.findobj(Text)))
    for text in figure.findobj(Text):
        if text.get_text() and text.get_visible() and id(text) not in unseen:
            box = text.get_window_extent()
            middle = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
            found.append((text.get_text().replace(r"\$", "$"), *middle))
    # What an axes writes twice at one place is seen once.
    return sorted({(text, round(x, 3), round(y, 3)) for text, x, y in found})


def pixels(figure):
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DPI)
    return np.asarray(Image.open(file).convert("RGB")).astype(int)


@pytest.mark.parametrize("name", CHARTS)
def test_what_is_drawn_at_once_is_what_holoviews_draws(name):
    chart = CHARTS[name]()
    at_once = chart.figure()
    assert at_once is not None
    assert len(chart) > 1
    assert chart.figure() is None
    slowly = figure_of(chart)
    here, there = said(at_once), said(slowly)
    assert [text for text, *_ in here] == [text for text, *_ in there]
    for text, x, y in here:
        apart = [np.hypot(x - its_x, y - its_y) for its, its_x, its_y in there if its == text]
        assert min(apart) < 2.0, text
    first, second = pixels(at_once), pixels(slowly)
    assert first.shape == second.shape
    # Edges of lines and letters fall a part of a pixel apart.
    assert (np.abs(first - second).max(axis=2) > 100).mean() < 0.01


def test_a_chart_that_was_given_options_is_drawn_with_them(tmp_path):
    chart = colorful_chart(synthetic_run(n_batches=2))
    next(iter(chart)).opts(title="mine", backend="matplotlib")
    assert chart.figure() is None
    assert "mine" in {text for text, *_ in said(figure_of(chart))}
    all_of_it = colorful_chart(synthetic_run(n_batches=2))
    all_of_it.opts({"Image": {"cmap": "gray"}}, backend="matplotlib")
    assert all_of_it.figure() is None
    save_chart(all_of_it, tmp_path / "a.png", dpi=30)


def test_saving_and_writing_its_name_look_at_no_cell(tmp_path):
    chart = colorful_chart(synthetic_run(n_batches=2))
    first = save_chart(chart, tmp_path / "a.png", dpi=40).read_bytes()
    repr(chart)
    assert chart.figure() is not None
    assert save_chart(chart, tmp_path / "b.png", dpi=40).read_bytes() == first


def test_cells_are_found_by_their_paths_and_in_copies():
    make = lambda: colorful_chart(synthetic_run(n_batches=2, n_layers=3))  # noqa: E731
    want = 4
    assert len(make()) == want
    assert isinstance(make().Overlay.I, hv.Overlay)
    assert isinstance(make()[0], hv.Overlay)
    assert "Overlay" in make()
    assert make().get("Overlay") is not None
    assert make().get("Curve") is None
    assert len(make().clone()) == want
    assert len(make() + make()) == 2 * want
    assert len(make().traverse(lambda x: x, [hv.Image])) == want - 1


def test_a_run_without_batches_has_no_tiles():
    chart = colorful_chart(run_from_samples({}, layers=["a"]))
    assert "no batch" in " ".join(text for text, *_ in said(figure_of(chart)))


def test_colours_are_those_that_matplotlib_gives():
    from matplotlib.colors import ListedColormap, LogNorm, Normalize

    colours = ["#000010", "#ff0000", "#00ff00", "#fedcba"]
    rng = np.random.default_rng(0)
    values = rng.lognormal(0.0, 3.0, (20, 30))
    values[3, 4] = np.nan
    for log, scale in ((True, LogNorm(0.1, 50.0)), (False, Normalize(0.1, 50.0))):
        table = ListedColormap(colours).with_extremes(bad="#123456")
        want = table(scale(np.ma.masked_invalid(values)), bytes=True)[..., :3]
        got = coloured(values, colours, (0.1, 50.0), ground="#123456", log=log)
        assert (got == want).all(axis=2).mean() > 0.99


def test_a_mark_is_a_value_of_the_tile():
    from actrace.analysis.charts.colorful.data import colorful_data
    from actrace.analysis.charts.colorful.tile import tile_of

    data = colorful_data(synthetic_run(n_batches=3), layer="fc")
    mark = Mark("rule", "error", ((1, 3),))
    away = Mark("far", "error", ((100, 103),))
    tile = tile_of(data, (mark, away), tile_frame(2), 2)
    assert tile.marks == (mark,)
    foot, height = tile.lanes
    assert tile.limits[1] == pytest.approx(foot + height)
    assert foot == pytest.approx(tile_of(data, (), tile_frame(2), 2).limits[1])
