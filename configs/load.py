"""How does a YAML file become a Plan? The only YAML reader; every fault names its line, its key and the likely remedy."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import YAMLError
from ruamel.yaml.scalarstring import ScalarString

from configs.errors import KeyFault, PlanError, did_you_mean
from configs.plan import Plan
from data.documents import check_size
from data.secrets import hidden, is_secret

Key = tuple[str | int, ...]
#: A database address may hold a password: its variables are filled when it is used, so that no copy of the plan has it.
SECRET: Key = ("data", "url")
#: Files that are named where a plan is not there.
SHOWN = 8
_VARIABLE = re.compile(r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}")


@dataclass(frozen=True)
class _Document:
    """A parsed file, and where each key of it stands. left: the keys of the file beside a `use` that an override replaced."""

    name: str
    tree: CommentedMap
    overridden: Mapping[Key, str]
    left: set[Key] = field(default_factory=set)

    def fault(self, key: Key, message: str) -> PlanError:
        dotted = ".".join(str(part) for part in key)
        said = f" {dotted}:" if dotted else ""
        for length in range(len(key), 0, -1):
            if key[:length] in self.overridden:
                return PlanError(hidden(f"-o {self.overridden[key[:length]]}:{said} {message}"))
        line, column = self._place(key)
        return PlanError(hidden(f"{self.name}:{line}:{column}:{said} {message}"))

    def _place(self, key: Key) -> tuple[int, int]:
        node: Any = self.tree
        place = (0, 0)
        for part in key:
            if isinstance(node, CommentedMap) and part in node:
                place = node.lc.key(part)
            elif isinstance(node, CommentedSeq) and isinstance(part, int) and part < len(node):
                place = node.lc.item(part)
            else:
                break
            node = node[part]
        return place[0] + 1, place[1] + 1


def load(path: Path, overrides: Iterable[str] = (), *, checks: Iterable[Callable[[Plan], None]] = ()) -> Plan:
    """Read a plan, apply `key.key=value` overrides, fill `${NAME:-default}` from the environment, and check it.

    An override of a section's `use` leaves out those of the file's other keys there that the new one does not take.

    `checks` see the finished plan and raise KeyFault for what only they know (an unknown family, say).
    Raises PlanError: file:line:column: dotted.key: what is wrong and what was probably meant.
    """
    document = _parse(path, tuple(overrides))
    while True:
        try:
            return _checked(document, checks)
        except _LeftOver as unfit:
            _drop(document, unfit.keys)


class _LeftOver(Exception):
    """What the file says at these keys was meant for what an override replaced."""

    def __init__(self, keys: Iterable[Key]) -> None:
        super().__init__(keys)
        self.keys = tuple(keys)


def _checked(document: _Document, checks: Iterable[Callable[[Plan], None]]) -> Plan:
    try:
        plan = Plan.model_validate(_fill(document, document.tree, ()))
    except ValidationError as error:
        if unfit := {_follow(item["loc"])[0] for item in error.errors(include_url=False)} & document.left:
            raise _LeftOver(unfit) from None
        raise PlanError("\n".join(str(fault) for fault in _faults(document, error))) from None
    for check in checks:
        try:
            check(plan)
        except KeyFault as fault:
            if fault.key in document.left:
                raise _LeftOver([fault.key]) from None
            raise document.fault(fault.key, fault.message) from None
    return plan


def _drop(document: _Document, keys: Iterable[Key]) -> None:
    for *section, last in keys:
        node: Any = document.tree
        for part in section:
            node = node[part]
        del node[last]
    document.left.difference_update(keys)


def placed(path: Path, overrides: Iterable[str], fault: KeyFault) -> PlanError:
    """A fault that shows only beside the data, at its place in the file that the plan was read from."""
    return _parse(path, tuple(overrides)).fault(fault.key, fault.message)


def dump(plan: Plan, *, without: Mapping[str, Any] | None = None) -> str:
    """The plan as YAML that `load` reads back to an equal one; every default is written out.

    without: keys that are left out, {"data": True, "privacy": {"ledger"}}; such a plan is to be read, not run."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # ruamel types this as None
    out = StringIO()
    yaml.dump(plan.model_dump(mode="json", exclude_none=True, exclude=without), out)
    return out.getvalue()


def rewritten(path: Path, overrides: Iterable[str], family: str, settings: Mapping[str, Any], note: Iterable[str]) -> str:
    """The file of a plan with this family and these settings of it, all else and the comments as they are.

    note: lines of a comment above `generator`. Where trials chose the family, that is left out: now it is named.
    Raises PlanError."""
    tree = _parse(path, tuple(overrides)).tree
    section = tree.get("generator")
    if not isinstance(section, CommentedMap):
        section = tree["generator"] = CommentedMap()
    if "use" not in section:
        section.insert(0, "use", family)
    section["use"] = family
    for name, value in settings.items():
        section[name] = value
    if tree.get("choose") == "bakeoff":
        del tree["choose"]
    elif isinstance(tree.get("choose"), CommentedMap) and tree["choose"].get("how") == "bakeoff":
        del tree["choose"]["how"]
    tree.yaml_set_comment_before_after_key("generator", before="\n".join(note))
    yaml = YAML(typ="rt", pure=True)
    yaml.width, yaml.preserve_quotes = 120, True
    out = StringIO()
    yaml.dump(tree, out)
    return out.getvalue()


def fill(text: str) -> str:
    """`${NAME:-default}` in a text from the environment.

    Raises PlanError when a variable without a default is not set.
    """
    document = _Document("the environment", CommentedMap(), {})
    return _VARIABLE.sub(lambda match: _variable(document, match, ()), text)


def _parse(path: Path, overrides: tuple[str, ...]) -> _Document:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise PlanError(f"{path}: there is no such plan file{_others(path)}") from None
    except UnicodeDecodeError as error:
        raise PlanError(f"{path}: not UTF-8 text at byte {error.start}; save the plan as UTF-8") from None
    except OSError as error:
        raise PlanError(f"{path}: cannot be read ({error.strerror}); name a plan file") from None
    tree = _yaml(text, str(path))
    if not isinstance(tree, CommentedMap):
        raise PlanError(f"{path}:1:1: a plan is a mapping of keys to values; `counterpoise init DATA` writes one")
    document = _Document(str(path), tree, {})
    written = {str(name): dict(spec) for name, spec in tree.items() if isinstance(spec, CommentedMap)}
    overridden = {_override(document, item): item for item in overrides}
    return _Document(str(path), tree, overridden, set(_left(written, tree, overridden)))


def _others(path: Path) -> str:
    """The end of a sentence about a plan that is not there: the plan that was probably meant, or those beside it."""
    beside = sorted(p for kind in ("yaml", "yml") for p in path.parent.glob(f"[!.]*.{kind}"))
    stems = {p.stem: p for p in beside}
    if near := difflib.get_close_matches(path.stem, stems, n=1):
        return f"; did you mean {str(stems[near[0]])!r}?"
    if not beside:
        return f", nor any other plan in {path.parent.resolve()}; `counterpoise init DATA` writes one"
    more = f" and {len(beside) - SHOWN} more" if len(beside) > SHOWN else ""
    return f"; beside it are {', '.join(str(p) for p in beside[:SHOWN])}{more}"


def _left(written: Mapping[str, Any], tree: Mapping[str, Any], overridden: Mapping[Key, str]) -> Iterable[Key]:
    """The keys that the file wrote beside a `use` that an override has replaced by another."""
    for section, was in written.items():
        now = tree[section]
        if (section, "use") in overridden and isinstance(now, Mapping) and now.get("use") != was.get("use"):
            yield from ((section, name) for name in was if (section, name) not in overridden and name in now)


def _yaml(text: str, name: str) -> Any:
    try:
        tree = YAML(typ="rt", pure=True).load(text)
        check_size(tree)
        return tree
    except ValueError as error:
        raise PlanError(f"{name}: {error}") from None
    except DuplicateKeyError as error:
        mark, key = error.problem_mark, re.search(r'duplicate key "([^"]*)"', str(error.problem))
        raise PlanError(f"{name}:{mark.line + 1}:{mark.column + 1}: the key {key and key[1]!r} stands twice") from None
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{mark.line + 1}:{mark.column + 1}" if mark else "1:1"
        problem = getattr(error, "problem", None) or "it does not parse"
        raise PlanError(f"{name}:{where}: not valid YAML: {problem}; check indentation, colons and quotes") from None


def _override(document: _Document, item: str) -> Key:
    dotted, equals, text = item.partition("=")
    if not equals or not dotted:
        raise PlanError(f"-o {item}: an override is key.key=value, e.g. -o generator.epochs=5")
    keys = tuple(dotted.split("."))
    node: Any = document.tree
    for depth, part in enumerate(keys[:-1]):
        if not isinstance(held := node.get(part), CommentedMap):
            # `choose: bakeoff` is short for its `how`, which another key beside it leaves as it is.
            node[part] = CommentedMap({"how": held} if (depth, part) == (0, "choose") and isinstance(held, str) else {})
        node = node[part]
    node[keys[-1]] = _yaml(text, f"-o {dotted}") if text else None
    return keys


def _fill(document: _Document, node: Any, key: Key) -> Any:
    """Plain Python values with environment variables filled in."""
    if isinstance(node, Mapping):
        return {str(k): _fill(document, v, (*key, str(k))) for k, v in node.items()}
    if isinstance(node, list):
        return [_fill(document, v, (*key, i)) for i, v in enumerate(node)]
    if key == SECRET or (key[:2] == ("publish", "sinks") and key[-1] == "catalog"):
        return str(node)
    if isinstance(node, str):
        return _VARIABLE.sub(lambda match: _variable(document, match, key), str(node))
    if isinstance(node, bool) or node is None:
        return node
    if isinstance(node, int):
        return int(node)
    return float(node) if isinstance(node, float) else node if not isinstance(node, ScalarString) else str(node)


def _variable(document: _Document, match: re.Match[str], key: Key) -> str:
    if key and is_secret(match["name"]):
        raise document.fault(
            key,
            f"{match['name']} is a secret by its name, and copies of the plan would hold it; only data.url names such",
        )
    value = os.environ.get(match["name"], match["default"])
    if value is None:
        raise document.fault(
            key, f"the environment has no variable {match['name']}; set it, or write ${{{match['name']}:-default}}"
        )
    return value


def _faults(document: _Document, error: ValidationError) -> list[PlanError]:
    out: dict[Key, PlanError] = {}
    for item in error.errors(include_url=False):
        key, model = _follow(item["loc"])
        # A union gives one error for each variant; the first is the one that names the words.
        out.setdefault(key, document.fault(key, _message(item, key, model)))
    return list(out.values())


def _follow(location: Key) -> tuple[Key, type[BaseModel] | None]:
    """The key in the file that pydantic's location means, and the model it belongs to.

    In a union pydantic inserts the tag of the variant ("data", "csv", "path"), which is no key of the file.
    """
    key: list[str | int] = []
    kind: Any = Plan
    owner: type[BaseModel] | None = Plan
    for part in location:
        variants = {_tag(v): v for v in _variants(kind)}
        if part in variants:
            kind = variants[part]
            continue
        if part in ("constrained-str", "dict", "float", "int", "str", "bool") or str(part).startswith(("literal[", "dict[")):
            continue
        key.append(part)
        model = _model(kind)
        if model is not None:
            owner = model
            kind = model.model_fields[str(part)].annotation if str(part) in model.model_fields else None
        else:
            kind = (get_args(kind) or (None,))[-1] if get_origin(kind) in (dict, list) else None
    return tuple(key), owner


def _variants(kind: Any) -> list[Any]:
    kind = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    return [v for v in get_args(kind) if _model(v)] if get_origin(kind) not in (dict, list) else []


def _tag(model: type[BaseModel]) -> str:
    use = model.model_fields.get("use")
    return str(get_args(use.annotation)[0]) if use and get_args(use.annotation) else model.__name__


def _model(kind: Any) -> type[BaseModel] | None:
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _message(item: Any, key: Key, model: type[BaseModel] | None) -> str:
    kind, context = item["type"], item.get("ctx", {})
    if kind == "extra_forbidden":
        known = list(model.model_fields) if model else []
        return f"unknown key {str(key[-1])!r}{did_you_mean(str(key[-1]), known)}"
    if kind == "missing":
        return f"the key {str(key[-1])!r} is missing; add it"
    if kind == "union_tag_invalid":
        tags = [word.strip().strip("'") for word in context["expected_tags"].split(",")]
        return f"unknown use {context['tag']!r}{did_you_mean(context['tag'], tags)}"
    if kind == "union_tag_not_found":
        what = "reader to use: csv, parquet, sql or sklearn"
        if key[0] == "constraints":
            what = "rule it is: range, inequality, unique, fixed_combinations, functional_dependency, expression or one_hot"
        return f"the key 'use' is missing; it says which {what}"
    message = str(context.get("error", item["msg"]))
    return message[0].lower() + message[1:] + (f", not {item['input']!r}" if kind != "value_error" else "")
