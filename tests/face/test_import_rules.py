"""What may import what, held by reading the imports of every source file."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: part -> packages no module of it may import, at any depth of its source.
FORBIDDEN = {
    "store": {
        "torch", "numba", "holoviews", "datashader", "matplotlib", "bokeh", "panel",
        "actrace.capture", "actrace.analysis", "actrace.cli", "actrace.demo",
    },
    "capture": {
        "xarray", "dask", "pandas", "scipy", "holoviews", "datashader", "matplotlib", "bokeh",
        "panel", "actrace.analysis", "actrace.cli", "actrace.demo",
    },
    "analysis": {"torch", "actrace.capture", "actrace.cli", "actrace.demo"},
    "analysis/kernels": {
        "xarray", "dask", "holoviews", "datashader", "matplotlib", "bokeh", "actrace.store",
        "actrace.analysis.charts",
    },
}  # fmt: skip

#: Numbers never need pictures.
NUMBERS_FORBIDDEN = {
    "holoviews", "datashader", "matplotlib", "bokeh", "panel", "actrace.analysis.charts",
    "actrace.analysis.app",
}  # fmt: skip

#: Folders of analysis that are pictures.
PICTURES = ("/charts/", "/report/", "/app/", "/live/")


def imports_of(path: Path) -> set[str]:
    """Return every module that a file imports, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def offenders(folder: str, forbidden: set[str], skip: tuple[str, ...] = ()) -> list[str]:
    """Return ``file imports module`` for every breach below a folder."""
    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        if not any(part in path.as_posix() for part in skip)
        for name in sorted(imports_of(path))
        if any(name == bad or name.startswith(bad + ".") for bad in forbidden)
    ]


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_a_part_imports_only_what_it_may(folder: str) -> None:
    assert (ROOT / folder).is_dir()
    assert offenders(folder, FORBIDDEN[folder]) == []


def test_numbers_never_import_pictures() -> None:
    assert offenders("analysis", NUMBERS_FORBIDDEN, skip=PICTURES) == []


def test_charts_never_import_the_app() -> None:
    assert offenders("analysis/charts", {"panel", "actrace.analysis.app"}) == []


def test_the_errors_import_nothing() -> None:
    assert imports_of(ROOT / "src/actrace/errors.py") <= {"__future__", "__future__.annotations"}


def loaded_after(code: str) -> set[str]:
    """Return the top-level modules a fresh interpreter has loaded after some code."""
    script = f"{code}\nimport sys; print(*{{name.split('.')[0] for name in sys.modules}})"
    out = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    return set(out.stdout.split())


def test_import_actrace_loads_no_heavy_package() -> None:
    heavy = {"torch", "dask", "holoviews", "numpy", "xarray", "zarr", "matplotlib", "pandas"}
    assert loaded_after("import actrace; dir(actrace)") & heavy == set()


def test_opening_a_run_loads_neither_torch_nor_charts() -> None:
    loaded = loaded_after("import actrace; actrace.open; actrace.Asinh")
    assert loaded & {"torch", "numba", "holoviews", "datashader", "matplotlib", "obstore"} == set()


def test_recording_loads_no_analysis_package() -> None:
    loaded = loaded_after("import actrace; actrace.record; import actrace.store.worker")
    assert loaded & {"xarray", "dask", "pandas", "scipy", "holoviews", "matplotlib"} == set()


HOSTS = {"accelerate", "fastai", "keras", "lightning", "pytorch_lightning", "transformers"}


def test_an_integration_imports_its_own_framework_alone_and_nothing_else_any() -> None:
    for path in (ROOT / "capture").rglob("*.py"):
        found = {name.split(".")[0] for name in imports_of(path)} & HOSTS
        own = {path.stem} if path.parent.name == "integrations" else set()
        own |= {"pytorch_lightning"} if path.stem == "lightning" else set()
        assert found <= own, path


def test_recording_loads_no_framework() -> None:
    assert loaded_after("import actrace; actrace.record; dir(actrace)") & HOSTS == set()


def test_every_public_name_is_there() -> None:
    import actrace

    assert set(dir(actrace)) == set(actrace.__all__)
    for name in actrace.__all__:
        assert getattr(actrace, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = actrace.nothing  # type: ignore[attr-defined]
