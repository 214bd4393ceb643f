"""The gate on files: what `counterpoise judge` does between its arguments and its answer."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from data.documents import check_size
from data.errors import DataError
from flows.tell import console

if TYPE_CHECKING:
    from validators.base import Privacy
    from validators.gate import Decision


def judge_files(
    train: Path,
    holdout: Path | None,
    synthetic: Path,
    *,
    reference: Path | None,
    target: str | None,
    intended: Path | None,
    suite: Path | None,
    utility: Literal["quick", "full", "off"],
    docs: Path | None,
    as_json: Path | None,
    as_html: Path | None,
    quiet: bool,
    privacy: Privacy | None = None,
    **settings: Any,
) -> Decision:
    """Judge a synthetic file against real ones, and write what was asked for. settings: fields of `Intent`; privacy: what an
    attacker knows and wants, None tries no attacks.

    Raises DataError for what cannot be read or compared.
    """
    from validators.base import Intent
    from validators.judge import checks, prepare, pronounce
    from validators.report import write_html, write_json

    intent = Intent(mix=read_mix(intended) if intended else None, privacy=privacy, **settings)
    started = time.monotonic()
    with console(quiet=quiet) as teller:
        progress = teller.begin("judge")
        try:
            evidence = prepare(train, holdout, synthetic, reference=reference, target=target, intent=intent, suite=suite)
        except DataError as error:  # the fault lies in an option, which a plan calls by another name
            raise DataError(re.sub(r"^privacy\.(quasi|secret): ", r"--\1: ", str(error))) from None
        running = checks(suite=suite, utility=utility, privacy=privacy is not None)
        lineage = {"train": str(train), **({"holdout": str(holdout)} if holdout else {}), "synthetic": str(synthetic)}
        decision = pronounce(evidence, progress=progress, lineage=lineage, docs=docs, only=running)
        teller.end("judge", "done", {"verdict": decision.verdict}, time.monotonic() - started)
    if as_json:
        write_json(decision, as_json)
    if as_html:
        write_html(decision, as_html, evidence=evidence, title=synthetic.stem)
    return decision


def asked_privacy(quasi: Sequence[str] | None, secret: Sequence[str] | None, rare: int, *, asked: bool) -> Privacy | None:
    """What an attacker knows and wants, of the options that say so; None where none was given.

    quasi, secret: names of columns, several of them with commas between. Raises DataError for names without --privacy: attacks
    change what the other checks may spend, so nobody starts them by the way."""
    from validators.base import Privacy

    if not asked:
        if quasi or secret:
            raise DataError("--quasi and --secret say whom attacks go for, but none are tried; add --privacy")
        return None
    return Privacy(quasi=_named(quasi), secret=_named(secret), k=rare)


def _named(texts: Sequence[str] | None) -> tuple[str, ...]:
    return tuple(name for text in texts or () for part in text.split(",") if (name := part.strip()))


def read_mix(path: Path) -> dict[str, float]:
    """A YAML mapping of class to intended share.

    Raises DataError when the file is not such a mapping.
    """
    try:
        value = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
        check_size(value)
    except FileNotFoundError:
        raise DataError(f"there is no file {path}; it maps each class to its share, e.g. `malignant: 0.5`") from None
    except (OSError, ValueError, YAMLError) as error:
        raise DataError(f"{path} cannot be read as YAML ({type(error).__name__}); it maps each class to its share") from None
    if not isinstance(value, dict) or not all(isinstance(share, (int, float)) for share in value.values()):
        raise DataError(f"{path} must map each class to its share, e.g. `malignant: 0.5`")
    return {str(level): float(share) for level, share in value.items()}
