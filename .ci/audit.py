"""Does a pinned version have a known vulnerability that nobody has looked at? pip-audit's answer, less a dated allow list.

An entry of the list has an end: after `until` it counts no more, and somebody looks again. Where the database of
vulnerabilities cannot be reached, nothing was audited, and that is said: pip-audit alone would say that it found none.
"""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
#: [{"id": "PYSEC-...", "package": "...", "until": "2027-01-31", "why": "..."}, ...]
ALLOWED = HERE / "audit-allowed.json"


def outcome(answer: Mapping[str, Any] | None, allowed: Sequence[Mapping[str, str]], today: dt.date) -> tuple[int, list[str]]:
    """Exit code and lines to print: 1 for a vulnerability that is not allowed and for an entry that has ended."""
    ended = [each for each in allowed if dt.date.fromisoformat(each["until"]) < today]
    said = [
        f"{each['id']} of {each['package']} was allowed until {each['until']} ({each['why']}); look again" for each in ended
    ]
    packages = [each for each in (answer or {}).get("dependencies", []) if "vulns" in each]
    if not packages:
        said.append("not audited: the database of vulnerabilities could not be asked; run `make audit` online")
        return int(bool(ended)), said
    fine = {(each["id"], each["package"]) for each in allowed if each not in ended}
    for each in packages:
        for found in each["vulns"]:
            if not fine & {(name, each["name"]) for name in (found["id"], *found.get("aliases", []))}:
                mends = f"mended in {', '.join(found['fix_versions'])}" if found.get("fix_versions") else "not mended yet"
                said.append(
                    f"{each['name']} {each['version']}: {found['id']}, {mends}; raise it, or allow it in {ALLOWED.name}"
                )
    return int(bool(said)), said or [f"audited: {len(packages)} packages, no vulnerability but {len(fine)} that are allowed"]


def asked(requirements: Path) -> Mapping[str, Any] | None:
    """pip-audit's answer on pinned requirements, None where there is none."""
    command = [sys.executable, "-m", "pip_audit", "-r", str(requirements), "--no-deps", "--disable-pip", "-f", "json"]
    done = subprocess.run([*command, "--progress-spinner", "off"], capture_output=True, text=True, check=False)
    try:
        answer: Mapping[str, Any] = json.loads(done.stdout)
    except ValueError:
        return None
    return answer


if __name__ == "__main__":
    code, lines = outcome(asked(HERE.parent / "constraints.txt"), json.loads(ALLOWED.read_text()), dt.date.today())
    print("\n".join(lines))
    sys.exit(code)
