"""The `counterpoise` that pages find in the tests: the command line itself; runs are short, plans time nothing, schedules stop.

Reads from the environment: SHORTER, what is added to `counterpoise run`."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from functools import partial

COMMAND = (sys.executable, "-m", "flows")


def main(words: list[str]) -> int:
    if words[0] == "serve":
        return served(words)
    added = {"run": shlex.split(os.environ.get("SHORTER", "")), "plan": ["--no-measure"]}
    return subprocess.run([*COMMAND, *words, *added.get(words[0], [])]).returncode


def served(words: list[str]) -> int:
    """A schedule that says that it began, still runs some seconds later, and stops when it is told to."""
    default = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(
        [*COMMAND, *words], stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=default
    ) as running:
        assert running.stderr is not None
        if not (first := running.stderr.readline()).startswith("schedule "):
            print(first, running.stderr.read(), file=sys.stderr)
            return running.wait() or 1
        time.sleep(10)
        went_on = running.poll() is None
        if went_on:
            os.killpg(running.pid, signal.SIGINT)
        said = first + running.stderr.read()
    print(said, file=sys.stderr)
    return 0 if went_on and "Traceback" not in said else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
