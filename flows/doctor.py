"""Is this installation well, and if not, what is to be done?"""

from __future__ import annotations

import os
import re
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from flows.guard import ClashError, check_rooms

ROOT = Path(__file__).parent.parent
LEAST_FREE = 2 * 2**30  # bytes


@dataclass(frozen=True)
class Health:
    """One thing looked at: its name, whether it is well, what was found, what to do."""

    name: str
    well: bool
    found: str
    remedy: str = ""


def examine(runs: Path) -> list[Health]:
    """Everything that commonly goes wrong, in the order in which to mend it."""
    return [
        _interpreter(),
        _rooms(),
        *_pins(),
        _extras(),
        _privacy(),
        _device(),
        _folder("runs", runs),
        _folder("published", Path("published")),
        _disk(),
    ]


def _interpreter() -> Health:
    found = f"{sys.version.split()[0]} at {sys.executable}"
    return Health("python", sys.version_info >= (3, 11), found, "install Python 3.11 or newer and run `make setup` again")


def _rooms() -> Health:
    try:
        check_rooms()
    except ClashError as error:
        return Health("packages", False, "another package stands in front of ours", str(error))
    return Health("packages", True, f"configs, data, generators, validators, flows from {ROOT}")


def _pins() -> list[Health]:
    """Every installed version against constraints.txt; what differs may work, but nobody has tried it."""
    path = ROOT / "constraints.txt"
    if not path.is_file():
        return [Health("pins", False, "constraints.txt is missing", "restore it from the repository")]
    pins = dict(re.findall(r"(?m)^([A-Za-z0-9_.-]+)==(\S+)", path.read_text()))
    differing, missing = [], []
    for name in _needed():
        if name in pins:
            try:
                if _plain(version(name)) != _plain(pins[name]):
                    differing.append(f"{name} {version(name)} (tested: {pins[name]})")
            except PackageNotFoundError:
                missing.append(name)
    if missing:
        return [Health("pins", False, f"not installed: {', '.join(missing)}", "run `make setup`")]
    if differing:
        return [Health("pins", False, "; ".join(differing), "run `make setup`, or expect surprises")]
    return [Health("pins", True, f"{len(_needed())} direct dependencies as tested")]


def _needed() -> list[str]:
    try:
        lines = requires("counterpoise") or []
    except PackageNotFoundError:
        return []
    return [re.split(r"[<>=!~ ;\[]", line, maxsplit=1)[0] for line in lines if "extra ==" not in line]


def _plain(text: str) -> str:
    return text.partition("+")[0]


def _extras() -> Health:
    try:
        return Health("sdv", True, f"{version('sdv')} (BUSL-1.1 licence; only families named sdv:... use it)")
    except PackageNotFoundError:
        return Health("sdv", True, "not installed; only families named sdv:... need it (`make setup` brings it)")


def _privacy() -> Health:
    from data.personal_values import ready

    if ready():
        return Health("privacy", True, f"presidio-analyzer {version('presidio-analyzer')}, Faker {version('Faker')}")
    return Health("privacy", True, "not installed; only a release needs it (`make setup` brings it)")


def _device() -> Health:
    import torch

    if torch.cuda.is_available():
        name, free = torch.cuda.get_device_name(0), torch.cuda.mem_get_info(0)[0] / 2**30
        return Health("device", True, f"cuda: {name}, {free:.0f} GiB free")
    if torch.backends.mps.is_available():
        return Health("device", True, "mps: Apple GPU")
    return Health("device", True, f"cpu: {os.cpu_count()} cores, {torch.get_num_threads()} torch threads (no GPU is seen)")


def _folder(name: str, path: Path) -> Health:
    """Whether files can be made there, tried by making one."""
    there = path
    while not there.exists():
        there = there.parent
    probe = there / f".counterpoise-probe-{os.getpid()}"
    try:
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        return Health(
            name, False, f"{path} cannot be written: {error.strerror}", "change its permissions or name another folder"
        )
    return Health(name, True, f"{path} can be written")


def _disk() -> Health:
    free = shutil.disk_usage(Path.cwd()).free
    return Health("disk", free >= LEAST_FREE, f"{free / 2**30:.0f} GiB free", "free some space: runs keep models and rows")
