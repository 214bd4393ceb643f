"""What became of a dataset, attempt by attempt: every version, and what lies in quarantine, with what the gate said of it?"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from data.publish import Publisher
from data.stores import MANIFEST, version_number

#: The page beside the versions.
PAGE = "index.html"
#: Attempts that are looked at, the last ones; each costs two small files.
LAST = 100


@dataclass(frozen=True)
class Attempt:
    """One set of rows that was judged.

    Fields:
        name: of the version, or `quarantine/<run id>`; version: whether it is one.
        when: seconds since the epoch, by the clock of the store.
        verdict, reason, smallest, findings: as report.json has them; smallest: mode whose absence would be noticed.
        rows, real, synthetic: how many; classes: (label, real, synthetic), the largest first.
        model: what drew them; moved: what is different from the version before, a sentence each; tags: what tags name it.
    """

    name: str
    version: bool
    when: float
    verdict: str
    reason: str
    smallest: float | None
    findings: tuple[Mapping[str, Any], ...]
    rows: int
    real: int
    synthetic: int
    classes: tuple[tuple[Any, int, int], ...]
    run: str
    purpose: str
    model: str
    moved: tuple[str, ...]
    tags: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As `history --json` writes it, without the findings' details."""
        shown = ("check", "verdict", "value", "limit", "reference", "summary")
        findings = [{name: finding.get(name) for name in shown} for finding in self.findings]
        return {**vars(self), "findings": findings}


@dataclass(frozen=True)
class History:
    """All attempts of a dataset, oldest first; left: how many older ones were not looked at."""

    dataset: str
    uri: str
    latest: str | None
    attempts: tuple[Attempt, ...]
    left: int

    @property
    def versions(self) -> list[Attempt]:
        """Those that were published."""
        return [attempt for attempt in self.attempts if attempt.version]


def history(publisher: Publisher, last: int = LAST) -> History:
    """The last attempts of a dataset. Raises PublishError where the store cannot be read."""
    store = publisher.store()
    placed = by_turns(store.placed())
    tags: dict[str, list[str]] = {}
    for label, name in store.tags().items():
        tags.setdefault(name, []).append(label)
    found = []
    for name in list(placed)[-last:]:
        manifest, report = (_parsed(store.text(f"{name}/{file}")) for file in (MANIFEST, "report.json"))
        if manifest:  # one that was taken away meanwhile is no attempt any more
            found.append(_attempt(name, placed[name], manifest, report, tags.get(name, [])))
    return History(publisher.dataset, store.uri(), store.latest(), tuple(found), max(len(placed) - last, 0))


def by_turns(placed: Mapping[str, float]) -> dict[str, float]:
    """Versions by their numbers, and what lies in quarantine by its time among them: a clock that was set back, or files that
    were copied, move no version before an earlier one."""
    numbers = {name: number for name in placed if (number := version_number(name)) is not None}
    latest, turns = 0.0, {}
    for name in sorted(numbers, key=lambda name: numbers[name]):
        latest = max(latest, placed[name])
        turns[name] = (latest, 0, numbers[name])
    turns |= {name: (when, 1, 0) for name, when in placed.items() if name not in numbers}
    return {name: placed[name] for name in sorted(turns, key=lambda name: (*turns[name], name))}


def _parsed(text: str | None) -> dict[str, Any]:
    """What a file says; nothing where it is missing or damaged: `verify` tells of that."""
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _attempt(name: str, when: float, manifest: Mapping[str, Any], report: Mapping[str, Any], tags: list[str]) -> Attempt:
    # Versions of before counts were written down know their rows alone.
    counts = [(each["class"], each["real"], each["synthetic"]) for each in manifest.get("counts", ())]
    return Attempt(
        name=name,
        version=version_number(name) is not None,
        when=when,
        verdict=str(manifest.get("verdict")),
        reason=str(report.get("reason", "")),
        smallest=report.get("smallest_detectable_mode"),
        findings=tuple(report.get("findings", ())),
        rows=int(manifest.get("rows", 0)),
        real=sum(real for _, real, _ in counts),
        synthetic=sum(drawn for *_, drawn in counts),
        classes=tuple(counts),
        run=str(manifest.get("run_id", "")),
        purpose=str(manifest.get("purpose", "")),
        model=str(manifest.get("lineage", {}).get("model", "")).partition("@")[0],
        moved=tuple(manifest.get("moved", ())),
        tags=tuple(sorted(tags)),
    )
