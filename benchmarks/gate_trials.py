"""One trial of each kind: rows are drawn, a fault is planted, and the check that should see it is asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmarks import gate_faults as faults
from benchmarks.gate_data import MIXTURES, Mixture, Rng, available, evidence, reshuffled, table
from data.dataset import Dataset
from data.schema import Schema
from validators.base import Check
from validators.copies import CopiesCheck
from validators.coverage import CoverageCheck
from validators.duplicates import DuplicatesCheck
from validators.gate import Decision, decide
from validators.judge import run
from validators.labels import LabelsCheck
from validators.modes import ModesCheck
from validators.pairs import PairsCheck
from validators.schema import SchemaCheck
from validators.spread import SpreadCheck


def blocking() -> list[Check]:
    """The checks that can block without a limit of the plan's: all but fidelity and utility."""
    return [
        SchemaCheck(), ModesCheck(), CopiesCheck(), SpreadCheck(), LabelsCheck(), DuplicatesCheck(), CoverageCheck(),
        PairsCheck(),
    ]  # fmt: skip


Checks = tuple[Check, ...]


@dataclass(frozen=True)
class Trial:
    """A row of the record. check: the checks that are asked, of which one must block; least: caught at least so often,
    0 where nothing is asked; trial: seed -> the checks that blocked, or None where no such trial could be made."""

    row: str
    data: str
    setting: str
    check: str
    least: float
    trial: Callable[[int], set[str] | None]


def real_against_real(name: str) -> Callable[[int], Decision]:
    """All blocking checks on a reshuffle of real rows."""

    def trial(seed: int) -> Decision:
        train, holdout, made = reshuffled(name, np.random.default_rng([seed, 1]))
        given = evidence(train, holdout, made, table(name).schema, seed=seed)
        return decide([run(check, given) for check in blocking()], intent=given.intent)

    return trial


def mixture_against_itself(mixture: Mixture, n: int, m: int) -> Callable[[int], Decision]:
    """The same on three draws of one mixture."""

    def trial(seed: int) -> Decision:
        rng = np.random.default_rng([seed, 2])
        sides = [mixture.draw(rows, rng).drop(columns="mode") for rows in (n, n, m)]
        given = evidence(*sides, Dataset.from_pandas(sides[0]).schema, seed=seed)
        return decide([run(check, given) for check in blocking()], intent=given.intent)

    return trial


def blocks(
    asked: Checks, train: pd.DataFrame, holdout: pd.DataFrame, made: pd.DataFrame, schema: Schema, seed: int
) -> set[str]:
    """The names of the checks that block."""
    given = evidence(train, holdout, made, schema, seed=seed)
    found = [run(check, given) for check in asked]
    if broken := [finding.summary for finding in found if finding.verdict == "ERROR"]:
        raise RuntimeError(broken[0])
    return {finding.check for finding in found if finding.verdict == "BLOCK"}


def _of_mixture(
    check: Checks, mixture: Mixture, n: int, m: int, *, rare: float | None = None, scale: float = 1.0, copied: float = 0.0
) -> Callable[[int], set[str]]:
    """A mixture whose mode 0 has the share `rare` and is lost, whose modes shrink, or of which some rows are near copies."""

    def trial(seed: int) -> set[str]:
        rng = np.random.default_rng([seed, 3])
        shares = None if rare is None else mixture.shares(rare)
        train, holdout = (mixture.draw(n, rng, shares=shares).drop(columns="mode") for _ in range(2))
        made = mixture.draw(m, rng, shares=None if rare is None else mixture.shares(0.0), scale=scale).drop(columns="mode")
        if copied:
            made = faults.near_copies(made, train, copied, rng)
        return blocks(check, train, holdout, made, Dataset.from_pandas(train).schema, seed)

    return trial


def _of_table(
    check: Checks,
    name: str,
    sizes: tuple[int, int, int],
    plant: Callable[[pd.DataFrame, pd.DataFrame, pd.DataFrame, Rng], pd.DataFrame | None],
) -> Callable[[int], set[str] | None]:
    """A reshuffle of a real table; `plant` gives the synthetic side its fault."""

    def trial(seed: int) -> set[str] | None:
        rng = np.random.default_rng([seed, 4])
        train, holdout, made = reshuffled(name, rng, sizes)
        faulty = plant(train, holdout, made, rng)
        return None if faulty is None else blocks(check, train, holdout, faulty, table(name).schema, seed)

    return trial


def _without_region(name: str, share: float) -> Callable[..., pd.DataFrame]:
    target = str(table(name).schema.target)

    def plant(train: pd.DataFrame, holdout: pd.DataFrame, made: pd.DataFrame, rng: Rng) -> pd.DataFrame:
        rules = faults.region(pd.concat([train, holdout], ignore_index=True), share, rng, target)
        return made[~faults.holds(made, rules)]

    return plant


def _with_hole(name: str) -> Callable[..., pd.DataFrame | None]:
    target = str(table(name).schema.target)

    def plant(train: pd.DataFrame, holdout: pd.DataFrame, made: pd.DataFrame, rng: Rng) -> pd.DataFrame | None:
        words = faults.kinds(train, target)[1]
        for _ in range(50):
            a, b = rng.permutation(words)[:2]
            counts = holdout.groupby([a, b], observed=True).size()
            # A cell that holds a large part of either marginal cannot be emptied while both stay.
            fit = [c for c, n in counts.items() if 30 <= n <= 0.3 * min((holdout[a] == c[0]).sum(), (holdout[b] == c[1]).sum())]
            if fit:
                return faults.hole(made, str(a), str(b), fit[int(rng.integers(len(fit)))], rng)
        return None

    return plant


def _with_copies(name: str, share: float) -> Callable[..., pd.DataFrame]:
    target = str(table(name).schema.target)
    return lambda train, holdout, made, rng: faults.near_copies(made, train, share, rng, target)


def _with_swapped_labels(name: str, share: float) -> Callable[..., pd.DataFrame]:
    target = str(table(name).schema.target)

    def plant(train: pd.DataFrame, holdout: pd.DataFrame, made: pd.DataFrame, rng: Rng) -> pd.DataFrame:
        pair = rng.permutation(sorted(train[target].dropna().unique()))[:2]
        return faults.swapped(made, target, tuple(pair), share, rng)

    return plant


def _with_loose_pair(name: str) -> Callable[..., pd.DataFrame | None]:
    target = str(table(name).schema.target)

    def plant(train: pd.DataFrame, holdout: pd.DataFrame, made: pd.DataFrame, rng: Rng) -> pd.DataFrame | None:
        return faults.loosened(made, pd.concat([train, holdout], ignore_index=True), target, rng)

    return plant


def _with_shrunk_class(name: str, scale: float) -> Callable[..., pd.DataFrame]:
    target = str(table(name).schema.target)

    def plant(train: pd.DataFrame, holdout: pd.DataFrame, made: pd.DataFrame, rng: Rng) -> pd.DataFrame:
        common = train[target].value_counts().index[0]
        numbers = faults.kinds(train, target)[0]
        return faults.shrunk(made, (made[target] == common).to_numpy(), scale, numbers)

    return plant


def trials() -> list[Trial]:
    """Every row but the false alarms, on every set that is here and large enough for it."""
    here = {real.name for real in available()}
    out: list[Trial] = []
    big = {"adult": (4000, 2000, 20000), "bank_marketing": (4000, 2000, 20000), "mammography": (2500, 2000, 6500)}
    tables = {name: sizes for name, sizes in big.items() if name in here}
    for share, least in ((0.05, 0.99), (0.01, 0.95)):
        row = f"a mode of {share:.0%} dropped"
        for mixture in MIXTURES:
            for m in (2000, 20000):
                trial = _of_mixture((ModesCheck(),), mixture, 2000, m, rare=share)
                out.append(Trial(row, mixture.name, f"n = 2000, m = {m}", "modes", least if m > 2000 else 0.0, trial))
        for name, sizes in tables.items():
            trial = _of_table((ModesCheck(),), name, sizes, _without_region(name, share))
            # Twenty rows between any three values: far harder than a mode, and shown beside.
            asked = least if share == 0.05 else 0.0
            out.append(Trial(row, f"{name}, random region", f"n = {sizes[1]}, m = {sizes[2]}", "modes", asked, trial))
    row = "a class shrunk to sd x 0.9"
    for mixture in (MIXTURES[2], MIXTURES[0]):
        trial = _of_mixture((SpreadCheck(),), mixture, 500, 5000, scale=0.9)
        out.append(Trial(row, mixture.name, "n = 500, m = 5000", "spread", 0.95, trial))
    # The class has n = 500 holdout rows: sizes are scaled by its share of the table.
    for name, sizes in {
        "adult": (1300, 660, 6600),
        "bank_marketing": (1130, 566, 5660),
        "mammography": (1020, 512, 5120),
    }.items():
        if name in here:
            trial = _of_table((SpreadCheck(), ModesCheck()), name, sizes, _with_shrunk_class(name, 0.9))
            out.append(Trial(row, f"{name}, larger class", "n = 500, m = 5000", "spread or modes", 0.95, trial))
    out += _copy_trials(tables)
    row = "a hole in a pair of categories, marginals intact"
    for name in ("adult", "bank_marketing"):
        if name in here:
            trial = _of_table((ModesCheck(),), name, tables[name], _with_hole(name))
            out.append(Trial(row, name, "n = 2000, m = 20000, h_c >= 30", "modes", 0.95, trial))
    row = "labels of two classes swapped on 30 % of rows"
    for name, sizes in {**tables, "digits": (600, 500, 690), "breast_cancer": (220, 150, 190)}.items():
        trial = _of_table((LabelsCheck(),), name, sizes, _with_swapped_labels(name, 0.3))
        out.append(Trial(row, name, f"n = {sizes[1]}, m = {sizes[2]}", "labels", 0.90, trial))
    row = "a pair of columns half as dependent, marginals intact"
    for name, sizes in {**tables, "digits": (600, 500, 690), "breast_cancer": (220, 150, 190)}.items():
        if name in here:
            trial = _of_table((PairsCheck(),), name, sizes, _with_loose_pair(name))
            out.append(Trial(row, name, f"n = {sizes[1]}, m = {sizes[2]}", "pairs", 0.95, trial))
    return out


def _copy_trials(tables: dict[str, tuple[int, int, int]]) -> list[Trial]:
    out = []
    for n, least in ((2000, 0.99), (500, 0.60)):
        for times in (1, 10):
            setting, row = f"n = {n}, m = {times * n}", "2 % near copies of training rows"
            trial = _of_mixture((CopiesCheck(),), MIXTURES[2], n, times * n, copied=0.02)
            out.append(Trial(row, MIXTURES[2].name, setting, "copies", least, trial))
            for name in tables:
                if times * n > tables[name][2]:
                    continue
                trial = _of_table((CopiesCheck(),), name, (n, n, times * n), _with_copies(name, 0.02))
                out.append(Trial(row, name, setting, "copies", least, trial))
    return out
