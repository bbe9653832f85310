"""actrace: what every layer of a PyTorch model does, batch by batch.

The public names, each loaded from its part on first use, so that
``import actrace`` costs next to nothing and a program that only reads runs
never loads torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from actrace.analysis.charts.activity.rates import rates_chart as rates_chart
    from actrace.analysis.charts.activity.units import units_chart as units_chart
    from actrace.analysis.charts.activity.warning import warning_chart as warning_chart
    from actrace.analysis.charts.colorful.colorful import colorful_chart as colorful_chart
    from actrace.analysis.charts.differing.comparison import comparison_chart as comparison_chart
    from actrace.analysis.charts.differing.difference import difference_chart as difference_chart
    from actrace.analysis.charts.differing.divergence import divergence_chart as divergence_chart
    from actrace.analysis.charts.gradients.gradients import gradients_chart as gradients_chart
    from actrace.analysis.charts.peaks.class_peaks import class_peaks_chart as class_peaks_chart
    from actrace.analysis.charts.peaks.separation import separation_chart as separation_chart
    from actrace.analysis.charts.peaks.twin_peaks import twin_peaks_chart as twin_peaks_chart
    from actrace.analysis.charts.showing.save import save_chart as save_chart
    from actrace.analysis.classes import class_report as class_report
    from actrace.analysis.classes import confused_pairs as confused_pairs
    from actrace.analysis.comparison.compare import compare as compare
    from actrace.analysis.comparison.comparison import Comparison as Comparison
    from actrace.analysis.dead_units import dead_units as dead_units
    from actrace.analysis.divergence import divergence as divergence
    from actrace.analysis.findings.diagnose import diagnose as diagnose
    from actrace.analysis.findings.finding import Finding as Finding
    from actrace.analysis.findings.findings import Findings as Findings
    from actrace.analysis.live.follow import follow as follow
    from actrace.analysis.onset import Onset as Onset
    from actrace.analysis.onset import onset as onset
    from actrace.analysis.onset_by_class import ClassOnsets as ClassOnsets
    from actrace.analysis.onset_by_class import onset_by_class as onset_by_class
    from actrace.analysis.peaks import find_peaks as find_peaks
    from actrace.analysis.rates import rates as rates
    from actrace.analysis.report.report import report as report
    from actrace.analysis.sampled import sampling_error as sampling_error
    from actrace.analysis.twin_peaks import twin_peaks as twin_peaks
    from actrace.capture.integrations.accelerate import record_accelerate as record_accelerate
    from actrace.capture.integrations.fastai import FastaiCallback as FastaiCallback
    from actrace.capture.integrations.keras import KerasCallback as KerasCallback
    from actrace.capture.integrations.lightning import LightningCallback as LightningCallback
    from actrace.capture.integrations.transformers import (
        TransformersCallback as TransformersCallback,
    )
    from actrace.capture.record import record as record
    from actrace.capture.recorder import Recorder as Recorder
    from actrace.capture.schedules import Schedule as Schedule
    from actrace.capture.schedules import between as between
    from actrace.capture.schedules import every as every
    from actrace.capture.schedules import first as first
    from actrace.capture.schedules import log_spaced as log_spaced
    from actrace.store.axis import Asinh as Asinh
    from actrace.store.axis import Edges as Edges
    from actrace.store.axis import Linear as Linear
    from actrace.store.catalogue.change import delete_run as delete_run
    from actrace.store.catalogue.change import note_run as note_run
    from actrace.store.catalogue.change import rename_run as rename_run
    from actrace.store.catalogue.change import tag_run as tag_run
    from actrace.store.catalogue.table import runs as runs
    from actrace.store.checking.examine import check_run as check
    from actrace.store.checking.report import CheckReport as CheckReport
    from actrace.store.checking.report import Damage as Damage
    from actrace.store.export.export import export_run as export_run
    from actrace.store.reader import open_run as open
    from actrace.store.repair.mend import RepairReport as RepairReport
    from actrace.store.repair.mend import repair_run as repair
    from actrace.store.rewriting.compact import compact_run as compact_run
    from actrace.store.rewriting.report import RewriteReport as RewriteReport
    from actrace.store.rewriting.thin import thin_run as thin_run
    from actrace.store.run import Run as Run

__version__ = "0.1.0"

#: Public name -> (module, name there).
_PUBLIC = {
    "Asinh": ("actrace.store.axis", "Asinh"),
    "CheckReport": ("actrace.store.checking.report", "CheckReport"),
    "ClassOnsets": ("actrace.analysis.onset_by_class", "ClassOnsets"),
    "Comparison": ("actrace.analysis.comparison.comparison", "Comparison"),
    "Damage": ("actrace.store.checking.report", "Damage"),
    "Edges": ("actrace.store.axis", "Edges"),
    "FastaiCallback": ("actrace.capture.integrations.fastai", "FastaiCallback"),
    "KerasCallback": ("actrace.capture.integrations.keras", "KerasCallback"),
    "LightningCallback": ("actrace.capture.integrations.lightning", "LightningCallback"),
    "Finding": ("actrace.analysis.findings.finding", "Finding"),
    "Findings": ("actrace.analysis.findings.findings", "Findings"),
    "Linear": ("actrace.store.axis", "Linear"),
    "Onset": ("actrace.analysis.onset", "Onset"),
    "Recorder": ("actrace.capture.recorder", "Recorder"),
    "RepairReport": ("actrace.store.repair.mend", "RepairReport"),
    "RewriteReport": ("actrace.store.rewriting.report", "RewriteReport"),
    "Run": ("actrace.store.run", "Run"),
    "Schedule": ("actrace.capture.schedules", "Schedule"),
    "TransformersCallback": ("actrace.capture.integrations.transformers", "TransformersCallback"),
    "between": ("actrace.capture.schedules", "between"),
    "check": ("actrace.store.checking.examine", "check_run"),
    "class_peaks_chart": ("actrace.analysis.charts.peaks.class_peaks", "class_peaks_chart"),
    "class_report": ("actrace.analysis.classes", "class_report"),
    "colorful_chart": ("actrace.analysis.charts.colorful.colorful", "colorful_chart"),
    "confused_pairs": ("actrace.analysis.classes", "confused_pairs"),
    "compact_run": ("actrace.store.rewriting.compact", "compact_run"),
    "comparison_chart": ("actrace.analysis.charts.differing.comparison", "comparison_chart"),
    "compare": ("actrace.analysis.comparison.compare", "compare"),
    "dead_units": ("actrace.analysis.dead_units", "dead_units"),
    "delete_run": ("actrace.store.catalogue.change", "delete_run"),
    "diagnose": ("actrace.analysis.findings.diagnose", "diagnose"),
    "difference_chart": ("actrace.analysis.charts.differing.difference", "difference_chart"),
    "divergence": ("actrace.analysis.divergence", "divergence"),
    "divergence_chart": ("actrace.analysis.charts.differing.divergence", "divergence_chart"),
    "every": ("actrace.capture.schedules", "every"),
    "export_run": ("actrace.store.export.export", "export_run"),
    "find_peaks": ("actrace.analysis.peaks", "find_peaks"),
    "first": ("actrace.capture.schedules", "first"),
    "follow": ("actrace.analysis.live.follow", "follow"),
    "log_spaced": ("actrace.capture.schedules", "log_spaced"),
    "gradients_chart": ("actrace.analysis.charts.gradients.gradients", "gradients_chart"),
    "note_run": ("actrace.store.catalogue.change", "note_run"),
    "onset": ("actrace.analysis.onset", "onset"),
    "onset_by_class": ("actrace.analysis.onset_by_class", "onset_by_class"),
    "open": ("actrace.store.reader", "open_run"),
    "rates": ("actrace.analysis.rates", "rates"),
    "rates_chart": ("actrace.analysis.charts.activity.rates", "rates_chart"),
    "record": ("actrace.capture.record", "record"),
    "record_accelerate": ("actrace.capture.integrations.accelerate", "record_accelerate"),
    "repair": ("actrace.store.repair.mend", "repair_run"),
    "rename_run": ("actrace.store.catalogue.change", "rename_run"),
    "report": ("actrace.analysis.report.report", "report"),
    "runs": ("actrace.store.catalogue.table", "runs"),
    "sampling_error": ("actrace.analysis.sampled", "sampling_error"),
    "save_chart": ("actrace.analysis.charts.showing.save", "save_chart"),
    "separation_chart": ("actrace.analysis.charts.peaks.separation", "separation_chart"),
    "tag_run": ("actrace.store.catalogue.change", "tag_run"),
    "thin_run": ("actrace.store.rewriting.thin", "thin_run"),
    "twin_peaks": ("actrace.analysis.twin_peaks", "twin_peaks"),
    "twin_peaks_chart": ("actrace.analysis.charts.peaks.twin_peaks", "twin_peaks_chart"),
    "warning_chart": ("actrace.analysis.charts.activity.warning", "warning_chart"),
    "units_chart": ("actrace.analysis.charts.activity.units", "units_chart"),
}

__all__ = [
    "Asinh",
    "CheckReport",
    "ClassOnsets",
    "Comparison",
    "Damage",
    "Edges",
    "FastaiCallback",
    "Finding",
    "Findings",
    "KerasCallback",
    "LightningCallback",
    "Linear",
    "Onset",
    "Recorder",
    "RepairReport",
    "RewriteReport",
    "Run",
    "Schedule",
    "TransformersCallback",
    "__version__",
    "between",
    "check",
    "class_peaks_chart",
    "class_report",
    "colorful_chart",
    "compact_run",
    "compare",
    "comparison_chart",
    "confused_pairs",
    "dead_units",
    "delete_run",
    "diagnose",
    "difference_chart",
    "divergence",
    "divergence_chart",
    "every",
    "export_run",
    "find_peaks",
    "first",
    "follow",
    "gradients_chart",
    "log_spaced",
    "note_run",
    "onset",
    "onset_by_class",
    "open",
    "rates",
    "rates_chart",
    "record",
    "record_accelerate",
    "rename_run",
    "repair",
    "report",
    "runs",
    "sampling_error",
    "save_chart",
    "separation_chart",
    "tag_run",
    "thin_run",
    "twin_peaks",
    "twin_peaks_chart",
    "units_chart",
    "warning_chart",
]


def __getattr__(name: str) -> Any:
    try:
        module, attribute = _PUBLIC[name]
    except KeyError:
        raise AttributeError(f"module 'actrace' has no attribute {name!r}") from None
    value = getattr(import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
