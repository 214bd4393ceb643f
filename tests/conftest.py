"""What several tests share: tiny data made here, plans that run in seconds, and where the real data are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from data.dataset import Dataset

ROOT = Path(__file__).parent.parent
#: Families that tests bring along are trusted, in processes that they start too.
os.environ["COUNTERPOISE_FAMILIES"] = "tests.flows"


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny networks lose more to threads waiting for each other than they gain."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data; the test is skipped where it is not."""
    folder = Path(os.environ.get("COUNTERPOISE_DATA", ROOT.parent / "shared/data"))
    if not (folder / "adult/adult.csv").is_file():
        pytest.skip("the real data are not here; set COUNTERPOISE_DATA to their folder")
    return folder


def mixed_table(rows: int = 240, seed: int = 0) -> pa.Table:
    """Numbers, whole numbers with gaps, words with commas and emoji, truth values, times before 1970, ids, a rare class."""
    rng = np.random.default_rng(seed)
    label = np.where(np.arange(rows) % 6 == 0, "rare", "common")
    amount = np.round(rng.normal(np.where(label == "rare", 9.0, 3.0), 1.0), 2)
    visits = rng.poisson(4, rows).astype(object)
    visits[rng.random(rows) < 0.1] = None
    day = np.datetime64("1965-01-01", "s") + rng.integers(0, 4000, rows).astype("timedelta64[D]")
    return pa.table(
        {
            "key": [f"{i:04d}-{chr(65 + i % 26)}X" for i in rng.permutation(rows)],
            "amount": amount,
            "visits": pa.array(visits.tolist(), pa.int64()),
            "city": rng.choice(["Ulm", "Bern, west", "Köln 🚲"], rows, p=[0.6, 0.3, 0.1]),
            "member": rng.random(rows) < 0.4,
            "since": pa.array(day, pa.timestamp("s")),
            "label": label,
        }
    )


@pytest.fixture
def mixed() -> Dataset:
    return Dataset.from_arrow(mixed_table(), target="label")


@pytest.fixture
def plan_file(tmp_path: Path) -> Path:
    """A plan over a csv of `mixed_table` that runs in seconds and publishes under tmp_path."""
    return mixed_plan(tmp_path)


def mixed_plan(folder: Path) -> Path:
    """The plan of `plan_file`, with its table, in a folder."""
    import pyarrow.csv as pacsv

    pacsv.write_csv(mixed_table(), folder / "mixed.csv")
    path = folder / "mixed.yaml"
    path.write_text(
        f"""name: mixed
seed: 3
data: {{use: csv, path: {folder / "mixed.csv"}}}
target: label
split: {{reference: 0.2, holdout: 0.3}}
generator: {{use: bootstrap}}
sample: {{mix: balanced}}
gate: {{detect: 1.0, draws: 20}}
publish: {{root: {folder / "published"}}}
"""
    )
    return path


#: Files of one long test each: they begin, so that several workers end together.
LONG = ("test_chaos.py", "test_pages.py", "test_readme.py", "test_notebook.py", "test_synthesize.py", "test_many.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long files first, all others in their order."""
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))
