"""Which object does a name in a plan mean? Names lead to files and classes; there is no list to keep."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from configs.errors import KeyFault, did_you_mean
from data.trust import trusted, untrusted

#: The subpackage whose files need no prefix in a plan.
PLAIN = "tabular"


def modules(package: str) -> dict[str, str]:
    """Public component files of a package and of its subpackages, found without importing them: name -> module.

    A file in the subpackage `tabular` goes by its own name (`gan`); in any other, by both (`image.gan`)."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        return {}
    files = (module.removeprefix(package + ".") for module in _files(package, list(spec.submodule_search_locations)))
    return {name.removeprefix(PLAIN + "."): f"{package}.{name}" for name in files}


def _files(package: str, folders: list[str]) -> Iterator[str]:
    for info in pkgutil.iter_modules(folders):
        name = f"{package}.{info.name}"
        if info.ispkg:
            yield from _files(name, [str(Path(folder) / info.name) for folder in folders])
        elif not info.name.startswith("_") and info.name != "base":
            yield name


def families(package: str, protocol: type) -> dict[str, type]:
    """Every component of a package by the name a plan uses for it: `gan`, or `sdv:CTGAN` where a file has several."""
    found: dict[str, type] = {}
    for name, module in modules(package).items():
        classes = _classes(importlib.import_module(module), protocol)
        found |= {name: classes[0]} if len(classes) == 1 else {f"{name}:{cls.__name__}": cls for cls in classes}
    return found


def find(use: str, protocol: type, *, package: str) -> type:
    """The class that `use` names: `gan`, `tabular.gan`, `sdv:CTGAN` in our package, or `package.module:Class` in one that the
    environment trusts.

    Raises KeyFault at ("use",) when there is none, when it cannot or may not be imported, or when a file has several and none
    is picked.
    """
    path, _, wanted = use.partition(":")
    known = modules(package)
    ours = {module.removeprefix(package + "."): module for module in known.values()} | known
    if wanted and path not in ours and not trusted(path) and importlib.util.find_spec(path.partition(".")[0] or " "):
        raise KeyFault(("use",), f"{path} {untrusted(path)}")
    module = importlib.import_module(ours[path]) if path in ours else _foreign(path) if wanted else None
    if module is None:
        raise KeyFault(("use",), f"unknown family {use!r}{_meant(path, known, protocol, foreign=bool(wanted))}")
    classes = {cls.__name__: cls for cls in _classes(module, protocol)}
    if wanted:
        if not hasattr(module, wanted):
            raise KeyFault(("use",), f"{path} has no class {wanted!r}{did_you_mean(wanted, classes)}")
        return getattr(module, wanted)  # type: ignore[no-any-return]  # build() checks what it is
    if len(classes) != 1:
        listed = ", ".join(f"{path}:{name}" for name in sorted(classes)) or "none that fits"
        raise KeyFault(("use",), f"{use!r} does not name one class; the file has {listed}")
    return next(iter(classes.values()))


def build(spec: Mapping[str, Any], protocol: type, *, package: str) -> Any:
    """The object that `{"use": name, **settings}` describes, its settings checked against the class's fields.

    Raises KeyFault naming the key: an unknown family, an unknown or ill-typed setting, or a class that does not
    satisfy `protocol`.
    """
    settings = {key: value for key, value in spec.items() if key != "use"}
    cls = find(str(spec["use"]), protocol, package=package)
    if missing := _missing_parts(cls, protocol):
        raise KeyFault(("use",), f"{spec['use']!r} is not a {protocol.__name__}: it lacks {', '.join(missing)}")
    if not is_dataclass(cls):
        raise KeyFault(("use",), f"{spec['use']!r} is not a dataclass, so its settings cannot be checked; make it one")
    model = settings_model(cls)
    if unknown := [key for key in settings if key not in model.model_fields]:
        raise KeyFault((unknown[0],), f"unknown key {unknown[0]!r}{did_you_mean(unknown[0], model.model_fields)}")
    try:
        checked = model.model_validate(settings)
        return partial(cls, **{name: getattr(checked, name) for name in checked.model_fields_set})()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise KeyFault(first["loc"], f"{first['msg']}, not {first['input']!r}") from None
    except ValueError as error:
        key = next((name for name in settings if name in str(error)), "use")
        raise KeyFault((key,), str(error)) from None


def settings_model(cls: type) -> type[BaseModel]:
    """The fields of a dataclass as a pydantic model, for checking and for the JSON schema."""
    hints = get_type_hints(cls, include_extras=True)
    parts: dict[str, Any] = {}
    for item in fields(cls):
        if not item.init or item.name.endswith("_"):
            continue
        default = item.default if item.default is not MISSING else ...
        if item.default_factory is not MISSING:
            default = item.default_factory()
        parts[item.name] = (hints[item.name], default)
    doc = (cls.__doc__ or cls.__name__).strip().splitlines()[0]
    return create_model(cls.__name__, __config__=ConfigDict(extra="forbid", strict=False), __doc__=doc, **parts)


def _missing_parts(cls: type, protocol: type) -> list[str]:
    own = {name for name in vars(protocol) if not name.startswith("_")}
    wanted = own | set(getattr(protocol, "__annotations__", {}))
    return sorted(name for name in wanted if not hasattr(cls, name))


def _classes(module: Any, protocol: type) -> list[type]:
    local = [v for v in vars(module).values() if isinstance(v, type) and v.__module__ == module.__name__]
    return [
        cls for cls in local if not cls.__name__.startswith("_") and not _missing_parts(cls, protocol) and is_dataclass(cls)
    ]


def _foreign(path: str) -> Any:
    """A module of somebody else, None where there is none. Raises KeyFault at ("use",) for one that cannot be imported."""
    try:
        return importlib.import_module(path)
    except Exception as error:  # whatever a file of others raises while it is read
        if isinstance(error, ModuleNotFoundError) and error.name and f"{path}.".startswith(f"{error.name}."):
            return None
        said = " ".join(str(error).split())
        raise KeyFault(("use",), f"{path} cannot be imported: {type(error).__name__}: {said}; mend it first") from None


def _meant(path: str, known: Mapping[str, str], protocol: type, *, foreign: bool) -> str:
    """The end of a sentence about a family that there is not."""
    picks, near = _picks(known, protocol, path), did_you_mean(path, known)
    if picks:
        return f"; did you mean {picks[0]!r}?"
    if foreign and not near.endswith("?"):
        return f": there is no module {path!r} to import; install it, or set PYTHONPATH to its folder"
    return near


def _picks(known: Mapping[str, str], protocol: type, near: str) -> list[str]:
    # A user who writes `ctgan` means the class CTGAN in some file; say `sdv:CTGAN`.
    wanted = near.lower().replace("_", "")
    found = ((name, cls) for name, module in known.items() for cls in _classes(importlib.import_module(module), protocol))
    return [f"{name}:{cls.__name__}" for name, cls in found if cls.__name__.lower() == wanted]
