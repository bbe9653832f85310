"""Rules about the recording itself."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from actrace.analysis.findings.evidence import Evidence
from actrace.analysis.findings.registry import Sign, rule

_ANY = "any loss is one: the counts are exact only of what was recorded"


@rule(
    "recorder-gap",
    meaning="The training ran batches that the store does not have, so what happened in them is "
    "unknown, and epochs that hold them are counted short.",
    remedy="Look for the recorder's warning in the training's output: a full disk, a store that "
    "cannot keep pace or a killed process. 'actrace check' says whether what is there is whole.",
    sources={"lost_share": _ANY},
)
def recorder_gap(evidence: Evidence, *, lost_share: float = 0.0) -> Iterator[Sign]:
    """Batches that the training ran and the store has not.

    Measured is the share of a phase's batches that are missing: those that the recorder
    counted as lost, and steps that are missing between two of phase ``train`` where no
    schedule left them out.

    Parameters
    ----------
    lost_share : float, default 0
        Share of the batches, 0 to 1. Source: any loss is one, the counts are exact only
        of what was recorded.
    """
    attributes = evidence.run.attrs
    counted = attributes.get("lost_batches")
    lost = {str(k): n for k, n in counted.items()} if isinstance(counted, dict) else {}
    for phase in dict.fromkeys((*evidence.phases, *lost)):
        recorded = evidence.run.children[phase].sizes["batch"] if phase in evidence.phases else 0
        missing = int(lost.get(phase) or 0)
        where = None
        if phase == "train" and recorded and attributes.get("schedule") is None:
            step = evidence.run.children[phase].dataset["step"].to_numpy()
            jumps = np.flatnonzero(np.diff(step) > 1)
            unseen = int((np.diff(step)[jumps] - 1).sum())
            missing = max(missing, unseen)
            if len(jumps):
                where = int(step[jumps[0]]) + 1, int(step[jumps[-1] + 1]) - 1
        share = missing / (missing + recorded) if missing else 0.0
        if share > lost_share:
            yield Sign(
                "warning",
                f"{missing:,} of {missing + recorded:,} batches of phase {phase} were not recorded",
                "share of batches lost",
                share,
                "lost_share",
                phase=phase,
                steps=where,
            )
    if attributes.get("damaged"):
        yield Sign(
            "warning",
            "a repair marked parts of this run as lost ('actrace check' lists them)",
            "parts that are lost",
            float(len(attributes["damaged"])),
            "lost_share",
        )
