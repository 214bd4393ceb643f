"""What of the machine ran out, the disk or the memory, and what is to be done about it?"""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from data.errors import UserError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
#: What torch says of a file that it could not write to its end, and of memory that it did not get.
_CUT = re.compile(r"PytorchStreamWriter|inline_container|iostream error")
_MEMORY = re.compile(r"DefaultCPUAllocator|can't allocate memory|[Cc]annot allocate memory|out of memory|can't start new thread"
                     r"|bad_alloc|failed to map segment|Unable to allocate|[Ii]nsufficient memory")  # fmt: skip


class ShortageError(UserError):
    """The machine has too little left of something; with more of it the same command goes on."""


@contextmanager
def told(where: Path, doing: str = "") -> Iterator[None]:
    """Turn what the disk or the memory refuses into one ShortageError sentence.

    where: what was being written to; doing: the stage at work."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        said = shortage(error, where)
        if said is None:
            raise
        raise ShortageError(f"{doing}: {said}" if doing else said) from error


def shortage(error: BaseException, where: Path) -> str | None:
    """What ran out, in a sentence; None where it is something else that went wrong."""
    for each in _causes(error):
        if isinstance(each, OSError) and each.errno in FULL:
            return f"the disk (or its quota) is full{_free(where)}; free some space, then give the same command again"
        if isinstance(each, OSError) and each.errno in (errno.EROFS, errno.EIO):
            return (
                f"{where} cannot be written ({each.strerror}); mend the disk or name another place, then give the command again"
            )
        if isinstance(each, OSError) and each.errno == errno.ENOMEM:
            return _no_memory()
    if any(_CUT.search(str(each)) for each in _causes(error)):
        return f"the disk (or its quota) is full{_free(where)}; free some space, then give the same command again"
    if any(isinstance(each, MemoryError) or _MEMORY.search(str(each)) for each in _causes(error)):
        return _no_memory()
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it came from, some steps deep."""
    for _ in range(10):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__


def _free(where: Path) -> str:
    with suppress(OSError):
        return f" ({shutil.disk_usage(where).free / 1e6:.1f} MB free in {where})"
    return ""


def _no_memory() -> str:
    return f"there was not enough memory{_limit()}; give it more, or fewer rows or a smaller batch, then run it again"


def _limit() -> str:
    """The limit of this process's memory, where one is set."""
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return "" if soft == resource.RLIM_INFINITY else f" within the limit of {soft / 1e9:.1f} GB (ulimit -v)"
