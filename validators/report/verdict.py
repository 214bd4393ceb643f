"""Which cells and checks led to the verdict, and with which figures?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from validators.base import PRIVACY_SHARES, Culprit, Finding
from validators.report import gauges as draw
from validators.report.scales import level, scale_of
from validators.report.text import clean, crop, figure, finite, sentence, share

View = dict[str, Any]
SEVERITY = ("BLOCK", "ERROR", "INCONCLUSIVE", "WARN", "PASS", "SKIPPED")
WORST, PAIRS = 10, 4
#: Checks whose limit is one of the ratio that a cell shows; that of the others is of another figure.
OF_RATIOS = ("modes", "coverage")
#: Checks whose cells hold shares, and not numbers of rows.
OF_SHARES = ("coverage", "utility", "fidelity")


def by_severity(findings: Iterable[Finding]) -> list[Finding]:
    """The worst verdicts first; of equal ones in the order in which they ran."""
    return sorted(findings, key=lambda f: SEVERITY.index(f.verdict))


def worst(findings: Sequence[Finding]) -> list[tuple[Finding, Culprit]]:
    """The ten worst cells of all checks: blocking checks first, then by adjusted p, then by distance from 1."""
    found = [(finding, culprit) for finding in findings for culprit in finding.culprits]
    # Pairs of rows have no share to compare; some are listed, and only where no cell is.
    found = [pair for pair in found if pair[1].ratio is not None] or found[:PAIRS]

    def rank(pair: tuple[Finding, Culprit]) -> tuple[float, ...]:
        finding, culprit = pair
        p = 1.0 if culprit.p_adjusted is None else culprit.p_adjusted
        return (SEVERITY.index(finding.verdict), p, -abs((1.0 if culprit.ratio is None else culprit.ratio) - 1))

    return sorted(found, key=rank)[:WORST]


def cell(finding: Finding | None, culprit: Culprit) -> View:
    """A row of the table of cells; without a finding it is one that no check has flagged."""
    name = clean(finding.check) if finding else ""
    low, high = culprit.ratio_ci or (None, None)
    limit = finding.limit if finding and name in OF_RATIOS else None
    p = finite(culprit.p_adjusted)
    return {
        "name": clean(culprit.cell),
        "check": name,
        "expected": _amount(name, culprit.expected, culprit.ratio),
        "observed": _amount(name, culprit.observed, culprit.ratio),
        "ratio": figure(culprit.ratio, 2) if finite(culprit.ratio) is not None else "",
        "interval": f"{figure(low, 2)} to {figure(high, 2)}" if culprit.ratio_ci else "",
        "p": "" if p is None else "< 1e-99" if p < 1e-99 else figure(p, 2),
        "chart": draw.whisker(culprit.ratio, culprit.ratio_ci, limit),
    }


def _amount(check: str, value: float, ratio: float | None) -> str:
    if check in OF_SHARES and ratio is not None:
        return share(value)
    if check == "spread":
        return figure(value)
    if check == "pairs":
        return f"{value:.2f}"
    return figure(round(value, 1 if abs(value) < 100 else 0) if finite(value) is not None else None, 4)


def checks(findings: Sequence[Finding], spent: float) -> list[View]:
    """Every check, the worst verdicts first."""
    privacy = any(finding.check in PRIVACY_SHARES for finding in findings)
    return [check(finding, spent, privacy=privacy) for finding in by_severity(findings)]


def check(finding: Finding, spent: float, *, privacy: bool = False) -> View:
    """A check as a bar beside that of real rows; what is read on demand in `more`. privacy: whether its checks ran."""
    scale = scale_of(finding)
    value, limit = finite(finding.value), finite(finding.limit)
    beyond = finding.verdict == "PASS" and scale.beyond(value, limit)
    return {
        "name": clean(finding.check),
        "verdict": finding.verdict,
        "what": scale.what,
        "summary": sentence(finding.summary),
        "plain": finding.verdict != "PASS" or value is None,
        "value": scale.write(value) if value is not None else "",
        "reference": scale.write(finding.reference) if finite(finding.reference) is not None else "",
        "limit": scale.bound(limit),
        "chance": beyond,
        "chart": draw.check(finding, scale),
        "more": [*_tested(finding, spent, privacy), *_further(finding)],
    }


def _tested(finding: Finding, spent: float, privacy: bool) -> list[tuple[str, str]]:
    p, alpha = finite(finding.p_value), level(finding.check, spent, privacy=privacy)
    rows = [("p-value, adjusted", figure(p, 2) if p >= 1e-99 else "< 1e-99")] if p is not None else []
    if alpha is not None:
        rows.append(("alpha of this check", figure(alpha)))
    return rows


#: Check -> figures in its details that are worth a line each: key, words, how they are written.
_LINES: Mapping[str, Sequence[tuple[str, str, str]]] = {
    "schema": [("expectations", "rules", "number")],
    "suite": [("expectations", "expectations", "number"), ("rows", "rows looked at", "number")],
    "modes": [("tested", "cells tested", "number"), ("cells", "cells counted", "number"),
              ("flagged", "cells flagged", "number")],
    "copies": [("exact_copies", "exact copies", "number"), ("near_share", "near copies", "share")],
    "duplicates": [("exact_repeats", "rows with an exact twin", "number"), ("inside", "rows close to another", "share"),
                   ("inside_real", "the same of real rows", "share"), ("ratio_lower_bound", "ratio, lower bound", "number")],
    "labels": [("classes", "classes compared", "number")],
    "membership": [("targets", "training rows attacked, and as many unseen ones", "number"),
                   ("synthetic_rows", "synthetic rows in hand", "number")],
    "rare": [("rare_cells", "rare combinations among training rows", "number")],
    "pairs": [("compared", "pairs compared", "number"), ("tests", "correlations tested", "number")],
}  # fmt: skip
_SHOWN = 8


def _further(finding: Finding) -> list[tuple[str, str]]:
    details = finding.details
    lines = [line for line in _LINES.get(finding.check, ()) if finite(details.get(line[0])) is not None]
    rows = [(words, share(details[key]) if how == "share" else figure(details[key])) for key, words, how in lines]
    if finding.check == "fidelity":
        rows += _likeness(details) + _distances(details)
    if finding.check == "copies":
        rows += [_test(each) for each in _mappings(details.get("tests"))]
    if finding.check in PRIVACY_SHARES:
        rows += [_attack(each) for each in _mappings(details.get("attacks"))[:_SHOWN]]
    if finding.check == "schema":
        rows += [_rule(each) for each in _mappings(details.get("failed"))[:_SHOWN]]
    if finding.check == "suite":
        failed = _mappings(details.get("failed"))[:_SHOWN]
        rows += [(clean(each.get("severity")), crop(each.get("said"), 200)) for each in failed]
    return rows


def _mappings(values: Any) -> list[Mapping[str, Any]]:
    return [each for each in values if isinstance(each, Mapping)] if isinstance(values, Sequence) else []


def _likeness(details: Mapping[str, Any]) -> list[tuple[str, str]]:
    names = {
        "column_shapes": "column shapes", "pair_trends": "pair trends", "c2st_auc": "C2ST AUC", "mmd": "MMD",
        "predictive": "error of the next reading, over real", "marginals": "readings (KS, TV)",
        "autocorrelation": "autocorrelations apart", "cross_correlation": "correlations of channels apart",
        "spectrum": "spectra apart, powers of ten",
    }  # fmt: skip
    sides = [details.get(side) for side in ("synthetic", "real")]
    made, real = (side if isinstance(side, Mapping) else {} for side in sides)
    return [
        (f"{words} | real", f"{figure(made[key])} | {figure(real.get(key))}") for key, words in names.items() if key in made
    ]


def _distances(details: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Kernel and Frechet distances of pictures, and what they are measured by."""
    rows = []
    for scope in _mappings(details.get("scopes"))[:_SHOWN]:
        if "kid" not in scope:
            continue
        low, high = (figure(bound, 2) for bound in scope.get("kid_ci") or (None, None))
        rows.append((f"KID, {clean(scope.get('name'))} | real", f"{figure(scope['kid'], 2)} ({low} to {high}) | "
                     f"{figure(scope.get('kid_real'), 2)}"))  # fmt: skip
    if "fid" in details:
        many = f"{figure(details.get('fid_pictures'))} pictures, {figure(details.get('fid_directions'))} directions"
        rows.append((f"FID, {many} | real", f"{figure(details['fid'], 2)} | {figure(details.get('fid_real'), 2)}"))
        rows.append(("on FID", clean(details.get("fid_remark"))))
    if details.get("extractor"):
        rows.append(("compared by", f"{crop(details['extractor'], 60)}, sha256 {clean(details.get('extractor_sha256'))[:16]}"))
    return rows


def _test(each: Mapping[str, Any]) -> tuple[str, str]:
    tail = finite(each.get("tail"))
    what = f"rows among the nearest {share(tail)}" if tail else "exact copies"
    counts = [figure(each.get(key)) for key in ("hits", "rows", "holdout_hits", "holdout_rows")]
    return what, f"{counts[0]} of {counts[1]} | real {counts[2]} of {counts[3]} | p {figure(each.get('p'), 2)}"


def _attack(each: Mapping[str, Any]) -> tuple[str, str]:
    name = crop(each.get("attack"), 80)
    if "auc" in each:
        low, high = (figure(end, 2) for end in each.get("auc_ci") or (None, None))
        return (
            name,
            f"AUC {figure(each['auc'], 2)} ({low} to {high}) | TPR at 1 % FPR {share(each.get('tpr_at_1_percent_fpr'))}",
        )
    if each.get("verdict") == "INCONCLUSIVE":
        return name, "no better than random guesses: nothing can be told by it"
    low, high = (share(end) for end in each.get("risk_ci") or (None, None))
    rates = [share(each.get(key)) for key in ("rate", "control", "naive")]
    risk = share(max(finite(each.get("risk")) or 0.0, 0.0))
    return name, f"{rates[0]} | unseen {rates[1]} | random {rates[2]} | risk {risk} ({low} to {high})"


def _rule(each: Mapping[str, Any]) -> tuple[str, str]:
    counts = [figure(each.get(key)) for key in ("broken", "rows", "allowed")]
    return (
        f"{clean(each.get('column') or 'columns')}: {clean(each.get('rule'))}",
        f"broken {counts[0]} of {counts[1]}, allowed {counts[2]}",
    )
