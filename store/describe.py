"""A run in words: what was recorded, for a terminal and for a notebook.

Names in a run come from a model or a stranger: control characters are escaped
in text and everything is escaped in HTML. May import xarray.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from actrace.errors import AxisError
from actrace.store.axis import Asinh, Axis, Linear
from actrace.store.paths import size_on_disk
from actrace.store.rewriting.marks import thinned_cells
from actrace.store.schema import GRADIENT_GROUP, OUTPUT_GRADIENT_GROUP, OUTPUT_GROUP

if TYPE_CHECKING:
    from actrace.store.run import Run

__all__ = [
    "as_html",
    "as_text",
    "axis_words",
    "bytes_words",
    "clean",
    "seconds_words",
    "summary",
]

_STATUS = {
    "recording": "recording now",
    "finished": "finished",
    "failed": "failed",
    "interrupted": "interrupted: its writer is gone without closing it",
}


def clean(text: Any, limit: int = 200) -> str:
    r"""Return `text` safe for a terminal: control characters escaped, cut at `limit`.

    Examples
    --------
    >>> print(clean("conv\x1b[31m1"))
    conv\x1b[31m1
    """
    shown = "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape", "replace").decode()
        for letter in str(text)[: limit + 1]
    )
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."


def bytes_words(size: float) -> str:
    """Return a size in words.

    Examples
    --------
    >>> bytes_words(1_234_567)
    '1.2 MB'
    """
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def seconds_words(seconds: float) -> str:
    """Return a duration in words.

    Examples
    --------
    >>> seconds_words(3725), seconds_words(42)
    ('1 h 2 min', '42 s')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def axis_words(axis: Axis) -> str:
    """Return an axis in words.

    Examples
    --------
    >>> axis_words(Linear(-10, 10, 200))
    '200 bins, equally wide (0.1), -10 to 10'
    """
    span = f"{axis.edges[0]:g} to {axis.edges[-1]:g}"
    if isinstance(axis, Linear):
        return f"{axis.n_bins} bins, equally wide ({axis.edges[1] - axis.edges[0]:.3g}), {span}"
    if isinstance(axis, Asinh):
        at_zero = float(np.diff(axis.edges).min())
        return (
            f"{axis.n_bins} bins, regular in asinh(x / {axis.scale:g}), {span}, "
            f"narrowest {at_zero:.2g}"
        )
    return f"{axis.n_bins} bins with edges of their own, {span}"


def _instant(text: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _when(attributes: Mapping[Any, Any], status: str) -> str:
    started, ended = (_instant(attributes.get(name)) for name in ("started", "ended"))
    if started is None:
        return ""
    words = f"{started.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    if ended is not None:
        words += f", took {seconds_words((ended - started).total_seconds())}"
    elif status == "recording":
        words += f", {seconds_words((datetime.now(UTC) - started).total_seconds())} ago"
    return words


def _epochs(run: Run, phase: str) -> str:
    last = run.children[phase].attrs.get("last_epoch")
    if isinstance(last, int):
        return f", {last + 1} epoch{'s' if last else ''}"
    return ""


def _phases(run: Run) -> str:
    parts = [
        f"{clean(phase, 40)} {run.n_batches(phase):,} batches{_epochs(run, phase)}"
        for phase in run.phases
    ]
    return "; ".join(parts) or "no batch yet"


def _layers(run: Run) -> str:
    if "layer" not in run.coords or not run.sizes.get("layer"):
        return "not declared yet"
    names = [clean(name, 40) for name in np.atleast_1d(run.coords["layer"].values)]
    shown = ", ".join(names[:6])
    return f"{len(names)}: {shown}{', ...' if len(names) > 6 else ''}"


def _output(run: Run) -> str:
    for phase in run.phases:
        group = run.children[phase].children.get(OUTPUT_GROUP)
        if group is None:
            continue
        words = (
            f"{clean(group.attrs.get('task'), 40)} of layer {clean(group.attrs.get('layer'), 60)}"
        )
        dim = "target_class" if "target_class" in group.coords else "output_unit"
        if dim in group.coords:
            names = [clean(name, 30) for name in np.atleast_1d(group.coords[dim].values)]
            what = "classes" if dim == "target_class" else "outputs"
            more = ", ..." if len(names) > 10 else ""
            words += f", {len(names)} {what}: {', '.join(names[:10])}{more}"
        return words
    return ""


def _gradient(run: Run) -> str:
    parts = []
    for name, dim, what in (
        (GRADIENT_GROUP, "parameter", "parameters"),
        (OUTPUT_GRADIENT_GROUP, "layer", "layers' outputs"),
    ):
        phases = [phase for phase in run.phases if name in run.children[phase].children]
        if phases:
            n = run.children[phases[0]].children[name].sizes.get(dim, 0)
            parts.append(f"of {n} {what} in {', '.join(clean(phase, 40) for phase in phases)}")
    return "; ".join(parts)


def _sample(attributes: Mapping[Any, Any]) -> str:
    """Return what of the elements was read, nothing where all of them were."""
    sample = attributes.get("sample")
    if not isinstance(sample, Mapping) or sample.get("mode") not in ("histogram", "all"):
        return ""
    stride = sample.get("stride")
    blocks = f"1 block in {stride}" if isinstance(stride, int) else "blocks, as many as cost little"
    what = "histograms are" if sample["mode"] == "histogram" else "everything is"
    return f"{what} of {blocks}"


def _left_out(attributes: Mapping[Any, Any]) -> str:
    """Return how many batches ``schedule="auto"`` left out, by phase."""
    left_out = attributes.get("left_out")
    if not isinstance(left_out, Mapping):
        return ""
    some = {phase: n for phase, n in left_out.items() if isinstance(n, int) and n > 0}
    return ", ".join(f"{n} batches of {clean(phase, 40)}" for phase, n in some.items())


def _config(attributes: Mapping[Any, Any]) -> str:
    config = attributes.get("config")
    if not isinstance(config, Mapping):
        return ""
    return ", ".join(f"{clean(key, 40)}={clean(value, 60)}" for key, value in config.items())


def summary(run: Run) -> dict[str, str]:
    """Return heading -> words on what was recorded, empty ones left out."""
    attributes = run.attrs
    try:
        axis = axis_words(run.axis)
    except (AxisError, KeyError, TypeError):
        axis = ""
    tags = attributes.get("tags")
    skipped = attributes.get("skipped")
    coverage = attributes.get("coverage")
    coverage = coverage if isinstance(coverage, dict) else {}
    rows = {
        "status": _STATUS.get(run.status, clean(run.status, 40)),
        "ranks": _ranks(run),
        "started": _when(attributes, run.status),
        "host": clean(attributes.get("host") or "", 80),
        "phases": _phases(run),
        "layers": _layers(run),
        "silent": _names(coverage.get("never_fired")),
        "unseen": _names(coverage.get("functions")),
        "skipped": _names(skipped),
        "axis": axis,
        "sample": _sample(attributes),
        "output": _output(run),
        "gradient": _gradient(run),
        "config": _config(attributes),
        "tags": ", ".join(clean(tag, 40) for tag in tags) if isinstance(tags, list) else "",
        "left out": _left_out(attributes),
        "lost": ", ".join(f"{n} batches of {clean(p, 40)}" for p, n in run.lost_batches.items()),
        "damaged": _names(attributes.get("damaged")),
        "thinned": _thinned(run),
        "on disk": _on_disk(run),
    }
    return {heading: words for heading, words in rows.items() if words}


def _thinned(run: Run) -> str:
    """Return which share of the histograms is there in levels alone."""
    try:
        found = thinned_cells(run.attrs)
    except ValueError:
        return ""
    parts = []
    for path, marks in found.items():
        phase = path.rpartition("/")[0]
        n = run.n_batches(phase) if phase in run.phases else 0
        share = 100 * marks.share(run.sizes.get("layer", 0), n)
        parts.append(f"{share:.0f} % of the histograms of {clean(phase, 40)}")
    return ", ".join(parts)


def _names(found: Any) -> str:
    """Return the first few names of a list or mapping."""
    if not isinstance(found, (list, dict)):
        return ""
    names = [clean(name, 40) for name in found]
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def _ranks(run: Run) -> str:
    if not run.ranks:
        rank, world = run.attrs.get("rank"), run.attrs.get("world_size")
        return f"rank {clean(rank, 20)} of {clean(world, 20)}" if rank is not None else ""
    missing = run.attrs.get("missing_ranks") or []
    if not missing:
        return f"{len(run.ranks)} ranks"
    which = f"rank {', '.join(map(str, missing[:6]))}{', ...' if len(missing) > 6 else ''}"
    verb = "is" if len(missing) == 1 else "are"
    return f"{len(run.ranks)} of {run.attrs.get('world_size')} ranks; {which} {verb} missing"


def _on_disk(run: Run) -> str:
    if run.directory is None:
        return ""
    # Other things may lie in the folder of a run of several ranks.
    parts = [rank.directory for rank in run.ranks if rank.directory] or [run.directory]
    return f"{bytes_words(sum(map(size_on_disk, parts)))} in {clean(run.directory)}"


def _contents(run: Run) -> list[tuple[str, str]]:
    """Return path -> sizes and variables of each group."""
    rows = []
    for node in run.subtree:
        if node is run:
            continue
        sizes = ", ".join(f"{clean(dim, 40)} {n}" for dim, n in node.sizes.items())
        names = ", ".join(clean(name, 40) for name in node.data_vars)
        rows.append(
            (clean(node.path.removeprefix(run.path).lstrip("/"), 120), f"({sizes}) {names}")
        )
    return rows


def as_text(run: Run) -> str:
    """Return what was recorded, a heading and its words a line."""
    name = clean(run.name or "in memory", 120)
    lines = [f"actrace run {name}"]
    lines += [f"  {heading:<8} {words}" for heading, words in summary(run).items()]
    return "\n".join(lines)


def as_html(run: Run) -> str:
    """Return the same for a notebook, with the groups' contents to unfold."""
    name = html.escape(clean(run.name or "in memory", 120))
    rows = "".join(
        "<tr><th style='text-align:left;vertical-align:top;padding-right:1em'>"
        f"{html.escape(heading)}</th><td style='text-align:left'>{html.escape(words)}</td></tr>"
        for heading, words in summary(run).items()
    )
    contents = "".join(
        f"<li><code>{html.escape(path)}</code> {html.escape(words)}</li>"
        for path, words in _contents(run)
    )
    unfold = (
        f"<details><summary>variables</summary><ul>{contents}</ul></details>" if contents else ""
    )
    return f"<div><strong>actrace run {name}</strong><table>{rows}</table>{unfold}</div>"
