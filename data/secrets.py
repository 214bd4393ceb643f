"""Does a text hold a secret that plans, logs and reports must not copy, and how is it shown without?"""

from __future__ import annotations

import re

#: user:password@ of an address, and parameters that are secrets by their name.
_USER = re.compile(r"(?P<before>[A-Za-z][A-Za-z0-9+.-]*://[^\s/:@'\"]*:)(?P<secret>[^\s'\"]*)(?=@)")
_NAMED = re.compile(
    r"(?P<before>[?&;](?:password|passwd|pwd|secret(?:_key)?|sslpassword|token|sas(?:_token)?|sig|access_key|account_key|api_?key"
    r"|[a-z_]*credentials?)=)(?P<secret>[^\s&;'\"]+)",
    re.IGNORECASE,
)
#: A secret that the environment holds, and no default beside it.
_VARIABLE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}")
#: Names of environment variables that hold secrets.
_NAME = re.compile(r"(?:^|_)(?:KEY|SECRET|TOKEN|PASSWORD|PASSWD|PWD|CREDENTIALS?|SAS)(?:_|$)", re.IGNORECASE)


def holds_secret(text: str) -> bool:
    """Whether an address spells a password or a key out, rather than naming the variable that holds it."""
    found = [match["secret"] for pattern in (_USER, _NAMED) for match in pattern.finditer(text)]
    return any(secret and not _VARIABLE.fullmatch(secret) for secret in found)


def hidden(text: str) -> str:
    """The text with *** for each secret of an address in it."""
    for pattern in (_USER, _NAMED):
        text = pattern.sub(lambda match: f"{match['before']}***", text)
    return text


def is_secret(variable: str) -> bool:
    """Whether an environment variable holds a secret, by its name."""
    return _NAME.search(variable) is not None
