"""What does the code say of itself: verbs and options, keys of a plan, modules?"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from prose import shown

ROOT = Path(__file__).resolve().parent.parent.parent
#: Rooms of the house with what each is for; a room's folders have pages of their own.
ROOMS = {
    "flows": "The story: stages, runs, the command line",
    "flows.stages": "What each stage of the walk does",
    "generators": "What every family can do",
    "generators.tabular": "Families of tables",
    "generators.image": "Families of pictures",
    "validators": "The gate: checks and the decision",
    "validators.report": "report.json and report.html",
    "configs": "Plans: fields, reading, names to objects",
    "data": "Datasets, schemas, splits, encodings, publishing",
    "data.sources": "Readers of data",
}
#: How JSON's types are told.
WORDS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
#: How the type of an option's parameter is told.
VALUES = {Path: "path", int: "whole number", float: "number", str: "text"}


@lru_cache(maxsize=1)
def pages() -> dict[str, str]:
    """Every page that is made: its place in docs/ -> its text."""
    modules = {f"reference/api/{room}.md": _room(room) for room in ROOMS}
    return {
        "reference/cli.md": _command_line(),
        "reference/plan.md": _plan(),
        "reference/changes.md": (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"),
        "reference/api/index.md": _rooms(),
        **modules,
    }


# --- the command line ---------------------------------------------------------------------------------------------------------


def _command_line() -> str:
    import typer

    from flows.cli import app

    group: Any = typer.main.get_command(app)
    parts = [
        "# Command line",
        f"{group.help} `counterpoise VERB --help` says the same on a terminal.",
        group.epilog,
        "`stdout` carries the result, `stderr` the progress. Where a run is named, its id, its plan's name (the latest run) or "
        "its folder will do.",
    ]
    for name, verb in group.commands.items():
        parts += [f"## counterpoise {name}", verb.help, _usage(name, verb), _table(verb)]
        if verb.epilog:
            parts.append("\n\n".join(f"`{line}`" if line.startswith("counter") else line for line in verb.epilog.split("\n\n")))
    return "\n\n".join(parts) + "\n"


def _usage(name: str, verb: Any) -> str:
    named = [_metavar(each) for each in verb.params if not each.opts[0].startswith("-")]
    return f"```text\ncounterpoise {' '.join([name, *named, '[OPTIONS]'])}\n```"


def _metavar(each: Any) -> str:
    shown = each.metavar or each.name.upper()
    return shown if each.required or shown.startswith("[") else f"[{shown}]"


def _table(verb: Any) -> str:
    hints = get_type_hints(verb.callback)
    rows = []
    for each in verb.params:
        if each.name == "help" or getattr(each, "hidden", False):
            continue
        named = not each.opts[0].startswith("-")
        names = [_metavar(each)] if named else [*each.opts, *each.secondary_opts]
        value = "" if named or getattr(each, "is_flag", False) else each.metavar or _value(hints[each.name])
        rows.append((", ".join(f"`{name}`" for name in names), value, _default(each), each.help or ""))
    return _grid(("option", "value", "default", "meaning"), rows)


def _value(hint: Any) -> str:
    """What an option takes, by the type of its parameter."""
    if get_origin(hint) is Literal:
        return " or ".join(f"`{choice}`" for choice in get_args(hint))
    inner = [each for each in get_args(hint) if each is not type(None)]
    return _value(inner[0]) if inner else VALUES.get(hint, "text")


def _default(each: Any) -> str:
    if each.required:
        return "required"
    if each.default is True:
        return f"`{each.opts[0]}`"
    return "" if each.default in (None, False, (), []) or callable(each.default) else f"`{each.default}`"


# --- the plan -----------------------------------------------------------------------------------------------------------------


def _plan() -> str:
    from flows.plan_schema import plan_schema

    schema = plan_schema()
    parts = [
        "# Keys of a plan",
        "A plan is one YAML file. `counterpoise init DATA` writes one with comments, `configs/runs` holds more, and "
        "`counterpoise schema` prints the JSON schema that this page is made from. Every key can be changed for one run: "
        "`-o gate.detect=0.1`.",
    ]
    parts += ["## The plan itself", _keys(schema, schema)]
    for key, part in schema["properties"].items():
        parts += _section(key, part, schema)
    return "\n\n".join(part for part in parts if part) + "\n"


def _section(key: str, part: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    """A key of the plan with what stands below it: one kind of thing, or several that `use` parts."""
    kinds = [kind for kind in _kinds(part, schema) if "properties" in kind]
    if not kinds:
        return
    several = any("const" in kind["properties"].get("use", {}) for kind in kinds)
    yield f"## {key}"
    if not several:
        yield kinds[0].get("description", "")
        yield _keys(kinds[0], schema)
        return
    for kind in kinds:
        use = kind["properties"].get("use", {}).get("const")
        if use is None or use == "auto":
            continue
        yield f"### {key}: {use}" if "class" not in kind else use
        yield kind.get("description", "").split("\n\n")[0]
        yield _keys(kind, schema, but=("use",))


def _kinds(part: Mapping[str, Any], schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What a key may hold, references followed: the alternatives of it, of a list's items, of a mapping's values."""
    if "$ref" in part:
        return _kinds(schema["$defs"][part["$ref"].rsplit("/", 1)[1]], schema)
    for name in ("anyOf", "oneOf", "allOf"):
        if name in part:
            return [kind for each in part[name] for kind in _kinds(each, schema)]
    for name in ("items", "additionalProperties"):
        if isinstance(part.get(name), dict) and "properties" not in part:
            return _kinds(part[name], schema)
    return [part]


def _keys(kind: Mapping[str, Any], schema: Mapping[str, Any], but: tuple[str, ...] = ()) -> str:
    required = kind.get("required", ())
    rows = []
    for name, part in kind["properties"].items():
        if name in but:
            continue
        default = "required" if name in required else _shown(part.get("default"))
        rows.append((f"`{name}`", _type(part, schema), default, part.get("description", _said(part, schema))))
    return _grid(("key", "value", "default", "meaning"), rows) if rows else "It has no settings."


def _said(part: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """What the thing that a key holds says of itself."""
    kinds = _kinds(part, schema)
    return kinds[0].get("description", "").split("\n\n")[0] if len(kinds) == 1 else "see below"


def _shown(value: Any) -> str:
    if value in (None, [], {}) or isinstance(value, dict):
        return ""
    return f"`{value}`" if isinstance(value, str) else f"`{json.dumps(value)}`"


def _type(part: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """The kind of value in a word or two."""
    if "$ref" in part:
        return _type(schema["$defs"][part["$ref"].rsplit("/", 1)[1]], schema)
    if "const" in part:
        return f"`{part['const']}`"
    if "enum" in part:
        return " or ".join(f"`{_bare(value)}`" for value in part["enum"])
    for name in ("anyOf", "oneOf"):
        if name in part:
            kinds = dict.fromkeys(_type(each, schema) for each in part[name] if each.get("type") != "null")
            return " or ".join(kinds) if len(kinds) < 5 else "keys"
    if part.get("type") == "array":
        return f"list of {_type(part['items'], schema)}" if "items" in part else "list"
    if part.get("type") == "object":
        return "keys"
    return WORDS.get(part.get("type", ""), "any")


def _bare(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


# --- modules ------------------------------------------------------------------------------------------------------------------


def _rooms() -> str:
    rows = [(f"[`{room}`]({room}.md)", what) for room, what in ROOMS.items()]
    return "\n\n".join([
        "# Python",
        "Everything that the command line does is a plain function. Most people need three: "
        "[`validators.judge`](validators.md#validators.judge), [`data.dataset.Dataset`](data.md#data.dataset.Dataset) and a "
        "family of [`generators`](generators.md#generators.base.Generator). A module opens with the question that it answers.",
        _grid(("package", "what it is"), rows),
    ]) + "\n"  # fmt: skip


def _room(room: str) -> str:
    """A page of all public modules of one folder that say something."""
    folder = ROOT / room.replace(".", "/")
    names = [path.stem for path in sorted(folder.glob("[a-z]*.py")) if ast.get_docstring(ast.parse(path.read_text()))]
    parts = [f"# {room}", ROOMS[room] + "."]
    return "\n\n".join([*parts, *(f"::: {room}.{name}" for name in names)]) + "\n"


def _grid(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(_cell(text) for text in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return shown(" ".join(text.split())).replace("|", "\\|")
