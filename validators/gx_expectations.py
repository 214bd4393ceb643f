"""What does Great Expectations expect of a gate's decision? Expectations on the one-row frame of its figures.

Importing this module registers them with Great Expectations (and costs its seconds), so that a stored suite which names
them can be read. They hold for frames of several rows, too: every row must keep them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar

from great_expectations.expectations.expectation import BatchExpectation
from great_expectations.render.components import LegacyRendererType, RenderedStringTemplateContent
from great_expectations.render.renderer.renderer import renderer
from great_expectations.validator.metric_configuration import MetricConfiguration

#: Verdicts of a check, and of the gate, that let a set pass.
CHECK_PASSES = ("PASS", "WARN", "SKIPPED")
GATE_PASSES = ("PASS", "WARN")

#: What each check makes sure of, as Data Docs say it.
SENTENCES: dict[str, str] = {
    "schema": "Every synthetic value is one that the schema allows",
    "modes": "No region of the real data is missing or thin among the synthetic rows",
    "copies": "No more training rows are copied than unseen real rows happen to match",
    "spread": "No class is narrower than the real one",
    "labels": "Synthetic rows look like the class they are labelled as",
    "duplicates": "Synthetic rows repeat each other no more than real rows do",
    "coverage": "The synthetic rows reach as much of the real data as other real rows do",
    "pairs": "Pairs of columns depend on one another as they do in real rows",
    "fidelity": "Columns, pairs of columns and whole rows keep the limits of the plan",
    "utility": "Training with the synthetic rows helps as much as the plan asks",
    "privacy": "The synthetic rows give nobody away beyond what the plan allows",
    "suite": "The team's own expectations hold",
}


class GateExpectation(BatchExpectation, ABC):
    """What the expectations on the frame of a gate share: they read columns of it, and they say themselves in a sentence."""

    @abstractmethod
    def columns(self) -> dict[str, str]:
        """The columns it reads: what it calls their values -> the column's name."""

    @abstractmethod
    def sentence(self) -> str:
        """The expectation as a plain sentence, for Data Docs."""

    def get_validation_dependencies(self, execution_engine: Any = None, runtime_configuration: Any = None) -> Any:
        needed = super().get_validation_dependencies(execution_engine, runtime_configuration)
        for key, column in self.columns().items():
            domain = {"batch_id": self.batch_id, "column": column}
            needed.set_metric_configuration(key, MetricConfiguration("column.distinct_values", metric_domain_kwargs=domain))
        return needed

    @classmethod
    @renderer(renderer_type=LegacyRendererType.PRESCRIPTIVE)
    def _prescriptive_renderer(
        cls, configuration: Any = None, result: Any = None, runtime_configuration: Any = None, **_: Any
    ) -> list[RenderedStringTemplateContent]:
        said = (configuration or result.expectation_config).to_domain_obj().sentence()
        return [RenderedStringTemplateContent(string_template={"template": said.replace("$", "$$")})]


class ExpectGateFigureToBeWithin(GateExpectation):
    """A figure of the gate lies within bounds: one that nobody could measure does not.

    figure: column of the frame, e.g. coverage_ratio; min_value, max_value: bounds, both included, None for none;
    meaning: what the figure is, in words that the sentence begins with."""

    figure: str
    min_value: float | None = None
    max_value: float | None = None
    meaning: str = ""

    success_keys: ClassVar[tuple[str, ...]] = ("figure", "min_value", "max_value")
    args_keys: ClassVar[tuple[str, ...]] = ("figure", "min_value", "max_value")

    def columns(self) -> dict[str, str]:
        return {"figures": self.figure}

    def sentence(self) -> str:
        bounds = [f"at least {self.min_value:g}"] if self.min_value is not None else []
        bounds += [f"at most {self.max_value:g}"] if self.max_value is not None else []
        return f"{self.meaning or self.figure} is {' and '.join(bounds) or 'known'}"

    def _validate(self, metrics: Any, runtime_configuration: Any = None, execution_engine: Any = None) -> dict[str, Any]:
        low = -math.inf if self.min_value is None else self.min_value
        high = math.inf if self.max_value is None else self.max_value
        found = _numbers(metrics["figures"])
        success = bool(found) and all(low <= value <= high for value in found)
        return {"success": success, "result": {"observed_value": _told(found)}}


def _numbers(values: Iterable[Any]) -> list[float]:
    return sorted(float(value) for value in values if value is not None and not math.isnan(value))


def _told(values: Iterable[Any]) -> str:
    return ", ".join(f"{value:.4g}" for value in _numbers(values)) or "not measured"


class GateVerdict(GateExpectation, ABC):
    """A column of verdicts holds none but those that let a set pass; what the gate says about it is shown beside."""

    passes: ClassVar[tuple[str, ...]] = CHECK_PASSES

    def _validate(self, metrics: Any, runtime_configuration: Any = None, execution_engine: Any = None) -> dict[str, Any]:
        verdicts, said = sorted(map(str, metrics["verdicts"])), sorted(map(str, metrics["said"]))
        success = bool(verdicts) and set(verdicts) <= set(self.passes)
        others = [key for key in self.columns() if key not in ("verdicts", "said")]
        shown = [f"{key} {_told(metrics[key])}" for key in others if _numbers(metrics[key])]
        figures = f" ({', '.join(shown)})" if shown else ""
        return {"success": success, "result": {"observed_value": f"{', '.join(verdicts)}{figures}: {'; '.join(said)}"}}


class ExpectGateToPass(GateVerdict):
    """The gate's own verdict lets the set be used."""

    passes: ClassVar[tuple[str, ...]] = GATE_PASSES

    def columns(self) -> dict[str, str]:
        return {"verdicts": "verdict", "said": "reason"}

    def sentence(self) -> str:
        return "The gate lets this synthetic set be used"


class ExpectGateCheckToPass(GateVerdict):
    """One check of the gate does not block, and was able to judge.

    check: its name, e.g. copies; figure: column of its figure, e.g. copies_share, to be shown beside the verdict."""

    check: str
    figure: str = ""

    success_keys: ClassVar[tuple[str, ...]] = ("check",)
    args_keys: ClassVar[tuple[str, ...]] = ("check",)

    def columns(self) -> dict[str, str]:
        shown = {self.figure: self.figure, "limit": f"{self.check}_limit", "real": f"{self.check}_reference"}
        return {"verdicts": f"{self.check}_verdict", "said": f"{self.check}_summary"} | (shown if self.figure else {})

    def sentence(self) -> str:
        return SENTENCES.get(self.check, f"The check {self.check} does not block")


class ExpectNoMissingMode(ExpectGateCheckToPass):
    """No region of the real data is missing or thin among the synthetic rows: the check of modes does not block."""

    check: str = "modes"
    figure: str = "modes_worst_ratio"
