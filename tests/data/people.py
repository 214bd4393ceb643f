"""Tables of people in several languages, drawn with Faker: what each column truly holds, and columns that hold nobody."""

from __future__ import annotations

import random
from collections.abc import Callable

import pyarrow as pa
from faker import Faker

#: What a column is called in tables of each language: kind -> names.
CALLED = {
    "en_US": "full_name/FirstName/last name/e-mail/Phone/home_address/zip code/iban/credit_card/ssn".split("/"),
    "de_DE": "Kundenname/Vorname/Nachname/E-Mail-Adresse/Telefon/Anschrift/PLZ/IBAN/Kreditkarte/SteuerID".split("/"),
    "fr_FR": "nom complet/prénom/nom_de_famille/courriel/téléphone/adresse/code_postal/iban/carte bancaire/nir".split("/"),
    "es_ES": "nombre_completo/nombre de pila/apellidos/correo/móvil/dirección/código postal/iban/tarjeta/dni".split("/"),
    "ja_JP": "氏名/下の名前/姓/メールアドレス/電話番号/住所/郵便番号/IBAN/カード番号/マイナンバー".split("/"),
}
KINDS = ("name", "first_name", "last_name", "email", "phone", "address", "postcode", "iban", "card", "ssn")
#: Kinds that are told by their values alone, under whatever name.
BARE = ("name", "email", "phone", "address", "iban", "card", "ssn")


def people(locale: str, rows: int = 200, *, called: bool = True, seed: int = 0) -> tuple[pa.Table, dict[str, str]]:
    """A table and what is personal in it (column -> kind); called: under the usual names, else c0, c1, ... of `BARE` kinds."""
    fake = Faker(locale)
    fake.seed_instance(seed)
    make: dict[str, Callable[[], str]] = {
        "name": fake.name, "first_name": fake.first_name, "last_name": fake.last_name, "email": fake.email,
        "phone": fake.phone_number, "address": fake.address, "postcode": fake.postcode, "iban": fake.iban,
        "card": fake.credit_card_number, "ssn": fake.nif if locale == "es_ES" else fake.ssn,
    }  # fmt: skip
    kinds = KINDS if called else BARE
    names = CALLED[locale] if called else tuple(f"c{i}" for i in range(len(kinds)))
    held = {name: [make[kind]() for _ in range(rows)] for name, kind in zip(names, kinds, strict=True)}
    return pa.table(held | nobody(fake, rows, seed)), dict(zip(names, kinds, strict=True))


def nobody(fake: Faker, rows: int, seed: int) -> dict[str, list[object]]:
    """Columns that hold nobody, some under names that sound like it."""
    rng = random.Random(seed)
    words = [fake.unique.word() for _ in range(30)]
    colours = [fake.color_name() for _ in range(12)]
    return {
        "amount": [round(rng.lognormvariate(4, 1), 2) for _ in range(rows)],
        "capital-gain": [rng.choice([0, 0, 0, rng.randrange(100000)]) for _ in range(rows)],
        "weight": [rng.randrange(10_000, 999_999) for _ in range(rows)],
        "bytes": [rng.randrange(10**9, 10**10) for _ in range(rows)],
        "day": [rng.choice(["2024-01-01", "2024-02-01", "2024-03-01"]) for _ in range(rows)],
        "clock": [f"{rng.randrange(24):02d}:{rng.randrange(0, 60, 30):02d}" for _ in range(rows)],
        "product_name": [rng.choice(words) for _ in range(rows)],
        "colour": [rng.choice(colours) for _ in range(rows)],
        "sku": [rng.choice([f"{w[:3].upper()}-{i:04d}" for i, w in enumerate(words)]) for _ in range(rows)],
        "version": [rng.choice(["1.0.2", "1.1.0", "2.0.0", "10.2.1"]) for _ in range(rows)],
        "size": [rng.choice(["10 x 20 x 30", "5 x 5 x 8", "120 x 60 x 75"]) for _ in range(rows)],
        "phone_service": [rng.choice(["yes", "no"]) for _ in range(rows)],
        "mail opt-in": [rng.choice([0, 1]) for _ in range(rows)],
        "card_type": [rng.choice(["VISA", "MasterCard", "Amex"]) for _ in range(rows)],
        "country": [rng.choice(["Georgia", "Jordan", "Chad", "Israel", "Germany", "Japan"]) for _ in range(rows)],
        "city": [rng.choice(["Paris", "Florence", "Austin", "Sydney", "Lourdes"]) for _ in range(rows)],
        "rate": [rng.choice(["1.5 %", "2.0 %", "2.5 %"]) for _ in range(rows)],
    }
