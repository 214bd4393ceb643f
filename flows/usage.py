"""How does the command line answer a fault: with one sentence on stderr and an exit code, never with a traceback or a box."""

from __future__ import annotations

import functools
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from configs.errors import did_you_mean
from data.errors import UserError
from data.secrets import hidden
from flows.pipes import reading, say, unread

#: What the library raises for a verb, an option or a value that does not fit; its own modules move from version to version.
Misuse: type[Any] = typer.BadParameter.__bases__[0]


class Verbs(TyperGroup):
    """The verbs; what is wrong with how one was called is one sentence, and 2."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """As the library's own, which ends the process, but for how it tells of a misuse."""
        try:
            code = super().main(*args, **{**kwargs, "standalone_mode": False})
        except UserError as error:
            code = _refused(hidden(str(error)), error.exit_code)
        except Misuse as error:
            # Without any verb the help has been shown.
            shown = type(error).__name__ == "NoArgsIsHelpError"
            code = error.exit_code if shown else _refused(_sentence(error, kwargs.get("args") or sys.argv[1:]), error.exit_code)
        sys.exit(code or 0)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The verb that the first word names. Raises UserError, with the nearest verb, when there is none."""
        word = args[0]
        if not word.startswith("-") and self.get_command(ctx, word) is None and not ctx.resilient_parsing:
            raise UserError(f"there is no verb {word!r}{did_you_mean(word, self.commands)}")
        return super().resolve_command(ctx, args)


def verb(function: Callable[..., int | None]) -> Callable[..., None]:
    """Turn what a verb returns or raises into an exit code and one sentence on stderr."""

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            code = function(*args, **kwargs) or 0
            with reading(sys.stdout):
                sys.stdout.flush()
        except UserError as error:
            code = _refused(hidden(str(error)), error.exit_code)
        except BrokenPipeError:
            unread(sys.stdout)
            code = 0
        except (SystemExit, typer.Exit):
            raise
        except BaseException as error:  # the last line of defence: no traceback reaches a user
            code = _stopped() if _is_stop(error) else _unexpected(error)
        raise typer.Exit(code)

    return guarded


def _refused(sentence: str, code: int) -> int:
    say(sentence, "refused", level="error", exit=code)
    return code


def _sentence(error: Any, words: Sequence[str]) -> str:
    """What is wrong with the words of a command line, and where its help is."""
    ctx = error.ctx
    help_of = f"`{ctx.command_path} --help`" if ctx is not None else "`counterpoise --help`"
    if type(error).__name__ == "NoSuchOption":
        near = did_you_mean(error.option_name, error.possibilities) if error.possibilities else f"; {help_of} lists them"
        return f"there is no option {error.option_name}{near}"
    said = error.format_message()
    if any(word.startswith("--") and f"'{word.partition('=')[0]}'" in said for word in words):
        said = re.sub(r" \(env var: '\w+'\)", "", said)  # what is wrong stands in the command itself
    said = said.replace("Value error, ", "").replace("Input should be", "it must be").strip().rstrip(".")
    return f"{said[0].lower()}{said[1:]}; {help_of} says what it takes"


def _is_stop(error: BaseException | None) -> bool:
    """Whether Ctrl-C is at the bottom of it: a server's client may have wrapped it in what it interrupted."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt) or type(error).__name__ == "CancelledError":
            return True
        error = error.__cause__ or error.__context__
    return False


def _stopped() -> int:
    kept = "; the same command keeps what is finished, and a fit goes on from its last checkpoint"
    kept += ", or begins anew where it is private, charged once"
    say("stopped" + (kept if {"run", "tune"} & set(sys.argv[1:]) else ""), "stopped", level="warning", exit=130)
    return 130


def _unexpected(error: BaseException) -> int:
    from flows.shortage import ShortageError, shortage

    if (said := shortage(error, Path.cwd())) is not None:
        return _refused(said, ShortageError.exit_code)
    said = f"unexpected {type(error).__name__}: {hidden(str(error))}; {logged(error)}"
    say(said, "failed", level="error", exit=1)
    return 1


def logged(error: BaseException) -> str:
    """Where the trace is."""
    import tempfile
    import traceback

    text = hidden("".join(traceback.format_exception(error)))
    try:
        with tempfile.NamedTemporaryFile("w", prefix="counterpoise-", suffix=".log", delete=False, encoding="utf-8") as file:
            file.write(text)
    except OSError as second:
        return f"the full log could not be written ({second.strerror})"
    return f"the full log is in {file.name}"


def write_json(path: Path | None, value: Any) -> None:
    """Write what `--json` asks for; nothing where it asks for none."""
    if path:
        writable(path).write_text(json.dumps(value, indent=1, default=str) + "\n", encoding="utf-8")


def writable(path: Path) -> Path:
    """The path of a file that is to be written. Raises UserError where it cannot be one."""
    if path.is_dir() or not path.parent.is_dir():
        raise UserError(f"{path} cannot be written: name a file in a folder that exists")
    return path
