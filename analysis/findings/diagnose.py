"""`diagnose`: every rule on one run, sorted. May import xarray."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import xarray as xr

from actrace.analysis.findings import rules as _rules
from actrace.analysis.findings.evidence import Evidence
from actrace.analysis.findings.finding import Finding, Unjudged
from actrace.analysis.findings.findings import Findings
from actrace.analysis.findings.registry import RULES, Missing, Rule, Sign, chosen_rules
from actrace.errors import NotRecordedError
from actrace.store.names import close_to, listed
from actrace.store.progress import track

__all__ = ["diagnose"]

_rules.load()


def diagnose(
    run: xr.DataTree,
    *,
    rules: str | Iterable[str] | None = None,
    thresholds: Mapping[str, Mapping[str, float]] | None = None,
    progress: bool | None = None,
) -> Findings:
    """Return what went wrong in a training, as far as its recording shows it.

    Unlike most answers this one is computed at once.

    Parameters
    ----------
    run : DataTree
        As `actrace.open` returns it; one that is still being recorded will do.
    rules : str or iterable of str, optional
        Names or patterns (``dead-*``) of the rules to run; all by default. docs/findings.md
        describes each.
    thresholds : dict of str to dict of str to float, optional
        Rule -> threshold -> value, for those that shall not have their default:
        ``{"dead-layer": {"inactive_units": 0.3}}``.
    progress : bool, optional
        True for a progress bar at once, False for none; by default one after two
        seconds on a terminal.

    Returns
    -------
    Findings
        A sequence of `Finding`, by severity, layer order and step, that prints as
        text and as HTML; `Findings.unjudged` says what could not be judged and why.

    Raises
    ------
    NotARunError
        `run` is something else.
    ValueError
        No such rule or threshold; the message lists those there are.

    Examples
    --------
    >>> found = diagnose(run, rules=["not-finite", "class-*"])
    >>> len(found), found.rules
    (0, ('not-finite', 'class-imbalance'))
    """
    chosen = chosen_rules(rules)
    given = _given(chosen, thresholds or {})
    evidence = Evidence(run)
    found: list[Finding] = []
    unjudged: list[Unjudged] = []
    for rule in track(chosen, len(chosen), "looking for faults", progress=progress):
        try:
            for sign in rule.judge(evidence, given[rule.name]):
                if isinstance(sign, Missing):
                    unjudged.append(Unjudged(rule.name, sign.why, sign.part))
                else:
                    found.append(_finding(rule, given[rule.name], evidence, sign))
        except NotRecordedError as why:
            unjudged.append(Unjudged(rule.name, str(why)))
    found.sort(key=lambda f: (f.rank, f.order if f.layer else -1, f.first_step or 0))
    directory = getattr(run, "directory", None)
    return Findings(
        found=tuple(found),
        unjudged=tuple(unjudged),
        rules=tuple(rule.name for rule in chosen),
        name=directory.name.removesuffix(".zarr") if directory is not None else "",
    )


def _given(
    rules: list[Rule], thresholds: Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, float]]:
    for name in thresholds:
        if name not in RULES:
            raise ValueError(
                f"no rule is named {name!r}; there are {listed(tuple(RULES), most=40)}"
                + close_to(name, tuple(RULES))
            )
    return {rule.name: rule.given(thresholds.get(rule.name, {})) for rule in rules}


def _finding(
    rule: Rule, thresholds: Mapping[str, float], evidence: Evidence, sign: Sign
) -> Finding:
    steps, epochs = sign.steps or (None, None), sign.epochs or (None, None)
    return Finding(
        rule=rule.name,
        severity=sign.severity,
        what=sign.what,
        layer=sign.name if sign.layer is None else evidence.layers[sign.layer],
        unit=sign.unit,
        target_class=sign.target_class,
        phase=sign.phase,
        first_step=steps[0],
        last_step=steps[1],
        first_epoch=epochs[0],
        last_epoch=epochs[1],
        measured=sign.measured,
        value=float(sign.value),
        units=sign.units,
        threshold=float(thresholds[sign.parameter]),
        parameter=sign.parameter,
        source=rule.sources[sign.parameter],
        meaning=rule.meaning,
        remedy=rule.remedy,
        order=-1 if sign.layer is None else int(evidence.order[sign.layer]),
    )
