"""The gate on files: what `counterpoise judge` does between its arguments and its answer."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from data.errors import DataError
from flows.tell import console

if TYPE_CHECKING:
    from data.dataset import Dataset
    from validators.gate import Decision


def judge_files(
    train: Path,
    holdout: Path | None,
    synthetic: Path,
    *,
    reference: Path | None,
    target: str | None,
    intended: Path | None,
    as_json: Path | None,
    as_html: Path | None,
    quiet: bool,
    **settings: Any,
) -> Decision:
    """Judge a synthetic file against real ones, and write what was asked for.

    Raises DataError for what cannot be read or compared.
    """
    from validators.judge import prepare, pronounce
    from validators.report import write_html, write_json

    mix = read_mix(intended) if intended else None
    started = time.monotonic()
    with console(quiet=quiet) as teller:
        progress = teller.begin("judge")
        evidence = prepare(
            read_rows(train),
            read_rows(holdout) if holdout else None,
            read_rows(synthetic),
            reference=read_rows(reference) if reference else None,
            target=target,
            mix=mix,
            **settings,
        )
        decision = pronounce(evidence, progress=progress, lineage={"synthetic": str(synthetic), "train": str(train)})
        teller.end("judge", "done", {"verdict": decision.verdict}, time.monotonic() - started)
    if as_json:
        write_json(decision, as_json)
    if as_html:
        write_html(decision, as_html, evidence=evidence, title=synthetic.stem)
    return decision


def read_mix(path: Path) -> dict[str, float]:
    """A YAML mapping of class to intended share.

    Raises DataError when the file is not such a mapping.
    """
    try:
        value = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise DataError(f"{path} cannot be read as YAML ({type(error).__name__}); it maps each class to its share") from None
    if not isinstance(value, dict) or not all(isinstance(share, (int, float)) for share in value.values()):
        raise DataError(f"{path} must map each class to its share, e.g. `malignant: 0.5`")
    return {str(level): float(share) for level, share in value.items()}


def read_rows(path: Path) -> Dataset | Any:
    """Rows of a csv file, a Parquet file or a folder of Parquet files, as an Arrow table."""
    if path.is_dir() or path.suffix.lower() in (".parquet", ".pq"):
        from data.sources.parquet import read as read_parquet

        return read_parquet(str(path))
    from data.sources.csv import read as read_csv

    return read_csv(str(path))
