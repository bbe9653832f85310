"""What a session tells the user, the log and the store of what is not recorded.

Imports the standard library alone.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from actrace.capture.batches import Session

__all__ = [
    "TOO_LATE",
    "log_coverage",
    "look_for_changes",
    "save_skips",
    "save_thinning",
    "say_cost",
    "say_coverage",
    "skips",
    "thinning",
]

_LOG: Final = logging.getLogger("actrace")
TOO_LATE: Final = (
    "layers run inside code that torch.compile had compiled before the recorder was attached, "
    "which knows no hooks, so they are not recorded; call actrace.record() before the first call "
    "of the compiled model, or torch.compiler.reset() after actrace.record()"
)


def skips(session: Session) -> dict[str, str]:
    """Return why something is missing, by layer."""
    found = session.table.skipped()
    if session.gradients is not None:
        found |= session.gradients.skipped()
    return found | session.joining.skipped()


def save_skips(session: Session) -> None:
    """Tell the store what is skipped, if that is news."""
    look_for_changes(session)
    found = skips(session)
    if found != session.saved_skips:
        session.saved_skips = found
        session.worker.update_attributes({"skipped": found})


def thinning(session: Session) -> dict[str, Any]:
    """Return what the store is told of a share that recording was to keep to."""
    sampler = session.sampler
    found: dict[str, Any] = {}
    if sampler.thins:
        found["left_out"] = dict(sampler.left_out)
    shares = None if sampler.governor is None else sampler.governor.shares
    if shares is not None:
        found["recording_cost"] = {
            "wanted": sampler.share,
            "training": round(shares.training, 6),
            "calling": round(shares.calling, 6),
            "writer": round(shares.writer, 6),
        }
    return found


def save_thinning(session: Session) -> None:
    """Tell the store how many batches were left out, and what recording costs."""
    found = thinning(session)
    if found:
        session.worker.update_attributes(found)


def say_cost(session: Session) -> None:
    """Say that a share cannot be kept to, once it is clear."""
    governor = session.sampler.governor
    if governor is not None and governor.missed and not session.said_cost:
        session.said_cost = True
        session.warn(f"recording costs more than was asked for: {session.sampler.words()}")


def look_for_changes(session: Session) -> None:
    """Say that modules were replaced or added since the hooks were hung."""
    found = None if session.changes is None else session.changes.found()
    if found is not None:
        session.warn(
            f"{found}; what they do is not recorded: close the recorder and record the "
            "changed model, with resume=True where its layers have the same names"
        )


def say_coverage(session: Session) -> None:
    """Say after the first batch what is not recorded of it."""
    table, coverage = session.table, session.coverage
    unread = table.unread()
    if unread:
        name, reason = next(iter(unread.items()))
        session.warn(
            f"{len(unread)} of {len(table.rows)} layers cannot be recorded, among them "
            f"{name!r}: {reason}; recorder.report() lists all"
        )
    model = session.model()
    if model is not None and coverage.compiled_too_early(model, table.fired()):
        session.warn(TOO_LATE)
    session.worker.update_attributes({"coverage": coverage.attributes(table)})
    log_coverage(session, "first batch")


def log_coverage(session: Session, moment: str) -> None:
    """Tell the log (``logging.getLogger("actrace")``) what is recorded, on one line."""
    _LOG.info(
        "%s: %d of %d layers fired, %d skipped, %d functions unseen, %d batches, %.3g s so far",
        moment,
        sum(session.table.fired().values()),
        len(session.table.recorded),
        len(skips(session)),
        len(session.coverage.functions),
        sum(session.batches.values()),
        session.cost(),
    )
