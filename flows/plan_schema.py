"""The JSON schema of a plan, with the settings of every family that is installed here."""

from __future__ import annotations

from typing import Any

from configs.components import families, settings_model
from configs.plan_schema import json_schema
from generators.base import Generator


def plan_schema() -> dict[str, Any]:
    """What editors check a plan against; committed as configs/plan.schema.json."""
    found = families("generators", Generator)
    return json_schema({name: settings_model(cls) for name, cls in found.items()})
