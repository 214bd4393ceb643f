"""What do editors check a plan against? Its JSON schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from configs.plan import AUTO, GeneratorSpec, Plan


def json_schema(families: Mapping[str, type[BaseModel]]) -> dict[str, Any]:
    """JSON schema of a plan; the generator's settings are those of the families given (name -> settings model)."""
    schema = Plan.model_json_schema()
    definitions = schema["$defs"]
    variants: list[dict[str, Any]] = []
    for name, model in sorted(families.items()):
        part = model.model_json_schema(ref_template="#/$defs/{model}")
        definitions.update(part.pop("$defs", {}))
        part["properties"] = {"use": {"const": name}} | part.get("properties", {})
        part["required"] = ["use", *part.get("required", [])]
        definitions[f"generator.{name}"] = part
        variants.append({"$ref": f"#/$defs/generator.{name}"})
    variants.append({"type": "object", "properties": {"use": {"const": AUTO}}, "additionalProperties": False})
    other = {"type": "object", "properties": {"use": {"type": "string", "pattern": ":"}}, "required": ["use"]}
    known = [name for name in families if ":" in name]
    definitions["GeneratorSpec"] = {
        "description": GeneratorSpec.__doc__,
        "anyOf": [*variants, other | {"not": {"properties": {"use": {"enum": known}}}}],
    }
    # `choose: bakeoff` is short for `choose: {how: bakeoff}`.
    long = schema["properties"]["choose"]
    schema["properties"]["choose"] = {"anyOf": [long, {"enum": ["rubric", "bakeoff"]}]}
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "counterpoise plan"
    return schema
