"""What personal data do values look like? Asks Presidio's recognisers, phonenumbers and Faker's lists of names.

Nothing here touches the network: the suffixes of domains come from the list that tldextract brings along. Presidio is imported
only for values that a recogniser could take for anything, since its import takes seconds.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from typing import Any

#: What the look for personal data needs, all of the extra `privacy`.
NEEDED = ("presidio_analyzer", "phonenumbers", "faker")
#: A recogniser that is less sure than this of a value says nothing of it without the column's name.
SURE = 0.5
#: Signs of a value that its recognised part may leave out ("+49 171 1234567 (office)" is no phone).
SLACK = 2
#: Countries whose way to write a number without its country code is tried beside the locale's own.
REGIONS = ("US", "GB", "DE", "FR", "ES", "IT", "JP", "BR", "IN", "NL")
#: National numbers whose recognisers know a check digit or a form of its own; the others take any digits.
_NATIONAL = (
    "UsSsn UsItin UkNino EsNif EsNie ItFiscalCode PlPesel FiPersonalIdentityCode SePersonnummer DeTaxId DeSocialSecurity "
    "DeHealthInsurance InAadhaar InPan AuTfn AuMedicare CaSin KrRrn SgFin ThTnin TrNationalId ZaIdNumber"
).split()
#: In European and Asian addresses these end or open the street; Faker's lists hold the rest.
_STREET = re.compile(
    r"(?:straße|strasse|str\.|weg|gasse|allee|platz|ring|damm|ufer|丁目|番地|番号|[0-9]号|路|街)(?=\W|[0-9]|$)"
    r"|\b(?:rue|avenue|boulevard|chemin|impasse|calle|c/|avenida|av\.?|plaza|paseo|via|rua|street|st|road|rd|lane|ln|drive|dr|ave|"
    r"blvd|court|ct|box|straat|laan)\b",
    re.I,
)

#: What else than a phone number has as many digits.
_DATE = re.compile(r"[0-9]{2,4}([-./ ])[0-9]{1,2}\1[0-9]{2,4}.*")


def ready() -> bool:
    """Whether the extra `privacy` is installed."""
    return all(find_spec(name) is not None for name in NEEDED)


def shares(values: Sequence[str], locale: str, *, named: str | None = None) -> dict[str, tuple[float, str]]:
    """What the values look like: {"email": (share of values, 0..1, what says so)}, only of what any value looks like.

    named: what the column's name announces; a recogniser that is unsure counts where the name agrees."""
    out: dict[str, tuple[float, str]] = {}
    digits = [sum(sign.isdigit() for sign in value) for value in values]
    if _most(("@" in value for value in values), values):
        out["email"] = (_recognised(values, "Email"), "the e-mail recogniser")
    if _most((n >= 4 and len(re.findall(r"[.:]", v)) >= 3 for v, n in zip(values, digits, strict=True)), values):
        out["ip"] = (_recognised(values, "Ip"), "the IP recogniser")
    if _most((n >= 6 for n in digits), values):
        out |= _numbers(values, digits, locale, named)
    return {what: found for what, found in out.items() if found[0]}


def _numbers(values: Sequence[str], digits: Sequence[int], locale: str, named: str | None) -> dict[str, tuple[float, str]]:
    out = {"phone": (phones(values, locale, plain=named == "phone"), "phonenumbers")}
    if _most((9 <= n <= 34 and value[:2].isalpha() for value, n in zip(values, digits, strict=True)), values):
        out["iban"] = (_recognised(values, "Iban"), "the IBAN recogniser")
    if _most((12 <= n <= 19 and not any(s.isalpha() for s in v) for v, n in zip(values, digits, strict=True)), values):
        out["card"] = (_recognised(values, "CreditCard"), "the card recogniser")
    out["ssn"] = max((_recognised(values, name, _least(name, named)), f"the recogniser {name}") for name in _NATIONAL)
    return out


def _least(name: str, named: str | None) -> float:
    """How sure a recogniser must be: its form is enough in a column called so, and of America's, whose dashes are its own."""
    return 0.01 if named == "ssn" else SURE if name == "UsSsn" else 1.0


def _most(said: Iterable[bool], values: Sequence[str]) -> bool:
    return 2 * sum(said) >= len(values) > 0


def _recognised(values: Sequence[str], name: str, least: float = SURE) -> float:
    """The share of values that are wholly what a recogniser knows, and of which it is as sure as that."""
    recogniser = _recogniser(name)

    def hit(value: str) -> bool:
        found = recogniser.analyze(value, recogniser.supported_entities, None)
        return any(r.score >= least and r.end - r.start + SLACK >= len(value) for r in found)

    return sum(hit(value) for value in values) / max(len(values), 1)


@cache
def _recogniser(name: str) -> Any:
    with _without("transformers", "torch"):
        known = importlib.import_module("presidio_analyzer.predefined_recognizers")
    return _offline(known.EmailRecognizer) if name == "Email" else getattr(known, f"{name}Recognizer")()


@contextmanager
def _without(*modules: str) -> Iterator[None]:
    """Presidio's package looks for language models' libraries, which takes twenty seconds; its patterns need none of them."""
    hidden = [name for name in modules if name not in sys.modules]
    try:
        sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: not to be imported
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)


def _offline(recogniser: Any) -> Any:
    """Presidio's own asks tldextract's default, which fetches the list of suffixes and keeps it on disk."""
    import tldextract

    known = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)
    # A class of its own: what others in this process ask of Presidio stays as it is.
    return type("Email", (recogniser,), {"validate_result": lambda self, text: known(text).fqdn != ""})()


def phones(values: Sequence[str], locale: str, *, plain: bool) -> float:
    """The share of values that are phone numbers of the locale's or another large country, the best country's.

    plain: numbers that could be dialled count, too, and digits without a blank, dash or plus among them."""
    import phonenumbers as pn

    def hit(value: str, region: str) -> bool:
        digits = sum(sign.isdigit() for sign in value)
        if not 6 <= digits <= 20 or re.search(r"[^\W\d_]{3}", value) or (not plain and _other(value, digits)):
            return False
        try:
            number = pn.parse(value, region)
        except pn.NumberParseException:
            return False
        return pn.is_possible_number(number) if plain or value.startswith("+") else pn.is_valid_number(number)

    regions = dict.fromkeys((locale[-2:], *REGIONS))
    return max(sum(hit(value, region) for value in values) for region in regions) / max(len(values), 1)


def _other(value: str, digits: int) -> bool:
    """Whether a value could as well be a date, a fraction, a part's number or any other digits."""
    bare = value.isdigit() or (digits < 9 and value[0] != "(")
    odd = re.fullmatch(r"[0-9]+[.,][0-9]+", value) or re.search(r"[^\W\d_]", re.split(r"x|ext", value)[0])
    return bool(_DATE.fullmatch(value) or odd or (bare and value[0] not in "+0"))


def names(values: Sequence[str]) -> dict[str, float]:
    """The share of values that Faker's lists know as a person's first, last or whole name, over all its languages."""
    first, last = _known()
    out = {"first_name": 0, "last_name": 0, "name": 0}
    for value in values:
        words = [word.strip(",.") for word in value.split()]
        single = words[0].split("-")[0] if len(words) == 1 else ""
        if len(words) > 3:  # "Ann Lee, Bo Chan & Di Roe": the first of several
            words = [word.strip(",.") for word in re.split(r"[,;/&]", value)[0].split()]
        if len(words) == 1 and not words[0].isascii() and len(value) >= 2:  # 木村陽一
            words = next(([value[:i], value[i:]] for i in range(1, len(value)) if _both({value[:i]}, {value[i:]})), words)
        whole = 2 <= len(words) <= 5 and not any(sign.isdigit() for sign in value)
        listed = sum(word in first or word in last for word in words)
        parts = any(word in first for word in words) and any(word in last for word in words)
        out["name"] += whole and parts and 2 * listed > len(words)
        out["first_name"] += value.strip() in first or single in first
        out["last_name"] += value.strip() in last or single in last
    return {what: n / max(len(values), 1) for what, n in out.items()}


def given(values: Sequence[str]) -> float:
    """The share of values that are two to four words without digits, the first a given name of Faker's lists."""
    first, _ = _known()
    words = [value.split() for value in values if not any(sign.isdigit() for sign in value)]
    return sum(2 <= len(each) <= 4 and each[0].strip(",.") in first for each in words) / max(len(values), 1)


def _both(one: set[str], other: set[str]) -> bool:
    first, last = _known()
    return bool(one & last and other & first)


@cache
def _known() -> tuple[frozenset[str], frozenset[str]]:
    """First names and last names in Faker's lists of all languages."""
    import faker.providers.person as person

    found: dict[str, set[str]] = {"first_name": set(), "last_name": set()}
    for module in pkgutil.iter_modules(person.__path__):
        provider = importlib.import_module(f"{person.__name__}.{module.name}").Provider
        for listed in (name for name in dir(provider) if name.startswith(tuple(found))):
            found[listed[: listed.index("_name") + 5]].update(_flat(getattr(provider, listed)))
    return frozenset(found["first_name"]), frozenset(found["last_name"])


def _flat(value: Any) -> Iterator[str]:
    """The words of a list, of a mapping of words to weights, or of pairs of spellings."""
    if callable(value) or isinstance(value, str) or not hasattr(value, "__iter__"):
        return
    for each in value:
        yield from [each] if isinstance(each, str) else (part for part in each if isinstance(part, str))


def addresses(values: Sequence[str]) -> float:
    """The share of values with a number and a word that streets are called by: "12 Main St", "Hauptstraße 3", "3, rue X"."""
    hits = (
        any(sign.isdigit() for sign in value) and any(sign.isalpha() for sign in value) and _street(value) for value in values
    )
    return sum(map(bool, hits)) / max(len(values), 1)


def _street(value: str) -> bool:
    return bool(_STREET.search(value)) or any(word.strip(",.").lower() in _streets() for word in value.split())


@cache
def _streets() -> frozenset[str]:
    """What streets begin or end with, of Faker's lists of the languages that set such a word apart."""
    found: set[str] = set()
    for language in ("en_US", "es_ES", "fr_FR", "it_IT", "pt_BR", "pt_PT", "es_MX"):
        provider = importlib.import_module(f"faker.providers.address.{language}").Provider
        for listed in ("street_suffixes", "street_prefixes"):
            found.update(word.lower() for word in _flat(getattr(provider, listed, ())) if len(word) > 2)
    return frozenset(found)
