"""Were these pickles written here? Reading one can run code, so that only what this user has signed is read.

SDV keeps its synthesizers as pickles and has no other form. Checksums beside a file say nothing of who wrote it: they are
made anew by whoever changes it. A signature takes a key that lies outside of every model's folder."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from generators.base import GeneratorError

#: The file beside the pickles, and the environment variable that names the key's file.
FILE, KEY = "signature", "COUNTERPOISE_KEY"


def sign(folder: Path, names: Sequence[str]) -> None:
    """Write the signature of these files of a model."""
    (folder / FILE).write_text(_signature(folder, names))


def check(folder: Path, names: Sequence[str]) -> None:
    """Raises GeneratorError unless these files are as they were when they were signed with the key that is here."""
    path = folder / FILE
    if path.is_file() and hmac.compare_digest(path.read_text(), _signature(folder, names)):
        return
    raise GeneratorError(
        f"{folder} holds pickles of SDV, which can run code when they are read, and {key_file()} has not signed them; fit the "
        f"model again here, or let {KEY} name the key of whoever fitted it if you trust them"
    )


def key_file() -> Path:
    """Where the key lies: what the environment names, else a file of this user's."""
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(os.environ.get(KEY) or f"{state}/counterpoise/key").expanduser()


def _signature(folder: Path, names: Sequence[str]) -> str:
    seal = hmac.new(_key(), digestmod=hashlib.sha256)
    for name in names:
        path = folder / name
        seal.update(name.encode() + b"\0" + (hashlib.sha256(path.read_bytes()).digest() if path.is_file() else b"\0"))
    return seal.hexdigest()


def _key() -> bytes:
    """32 random bytes, drawn once."""
    path = key_file()
    try:
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            fresh = path.with_name(f".{path.name}.{os.getpid()}")
            with open(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
                file.write(secrets.token_bytes(32))
            with suppress(FileExistsError):  # another process was quicker
                os.link(fresh, path)
            fresh.unlink()
        return path.read_bytes()
    except OSError as error:
        raise GeneratorError(
            f"{path}, the key that signs models, cannot be used ({error.strerror}); let {KEY} name one"
        ) from None
