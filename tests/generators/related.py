"""A shop drawn for tests: three levels of tables, a table with two parents, links, a table that refers to itself, a list."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from data.relations import ForeignKey, Relations, Tables

RELATIONS = Relations(
    {
        "region": ("id",), "staff": ("id",), "customer": ("id",), "order": ("id",), "line": ("order_id", "nr"),
        "product": ("code",), "tag": ("id",), "product_tag": ("product_code", "tag_id"),
    },
    (
        ForeignKey("staff", "boss_id", "staff", "id"),
        ForeignKey("customer", "region_id", "region", "id"),
        ForeignKey("order", "customer_id", "customer", "id"),
        ForeignKey("order", "seller_id", "staff", "id"),
        ForeignKey("line", "order_id", "order", "id"),
        ForeignKey("line", "product_code", "product", "code"),
        ForeignKey("product_tag", "product_code", "product", "code"),
        ForeignKey("product_tag", "tag_id", "tag", "id"),
    ),
)  # fmt: skip


def shop_tables(customers: int = 250, seed: int = 0) -> dict[str, pa.Table]:
    """A rich region's customers order more and spend more; siblings are alike; a line's price is its product's; half of the
    premium products are tagged; a third of the customers never order; one order in five has no seller."""
    rng = np.random.default_rng(seed)
    regions, staff, products, tags = 40, 60, 80, 6
    rich = rng.random(regions) < 0.4
    region = {"id": np.arange(regions) + 1, "climate": np.where(rich, "mild", "harsh"), "size": rng.integers(1, 50, regions)}

    boss = np.array([-1, *(int(rng.integers(max(1, i // 4))) for i in range(1, staff))])
    grade = np.where(boss < 0, "head", np.where(boss == 0, "lead", "clerk"))
    people = {"id": np.arange(staff) + 100, "boss_id": pa.array(boss + 100, mask=boss < 0), "grade": grade}

    home = rng.integers(regions - 3, size=customers)  # three regions without customers
    loyal = rng.random(customers) < np.where(rich[home], 0.7, 0.2)
    income = np.round(np.exp(rng.normal(np.where(rich[home], 4.0, 3.0), 0.3)), 2)
    customer = {
        "id": np.arange(customers) + 1000, "region_id": home + 1, "loyal": loyal, "income": income,
    }  # fmt: skip

    number = np.where(rng.random(customers) < 1 / 3, 0, rng.poisson(np.where(loyal, 6.0, 2.0)) + 1)
    of = np.repeat(np.arange(customers), number)
    channel = rng.choice(["web", "shop", "phone"], customers, p=[0.5, 0.3, 0.2])[of]
    channel = np.where(rng.random(len(of)) < 0.1, rng.choice(["web", "shop", "phone"], len(of)), channel)
    day = np.datetime64("2020-01-01", "s") + np.sort(rng.integers(0, 900, len(of))).astype("timedelta64[D]")
    seller = np.where(rng.random(len(of)) < 0.2, -1, rng.integers(20, staff, len(of)))
    order = {
        "id": np.arange(len(of)) + 50_000, "customer_id": of + 1000, "seller_id": pa.array(seller + 100, mask=seller < 0),
        "channel": channel, "day": pa.array(day, pa.timestamp("s")), "climate": region["climate"][home[of]],
    }  # fmt: skip

    premium = rng.random(products) < 0.3
    price = np.round(np.where(premium, 80, 10) * np.exp(rng.normal(0, 0.2, products)), 2)
    product = {"code": [f"P-{i:04d}" for i in range(products)], "premium": premium, "price": price}

    lines = 1 + rng.poisson(1.5, len(of))
    at = np.repeat(np.arange(len(of)), lines)
    wants = rng.random(len(at)) < np.where(loyal[of[at]], 0.7, 0.1)
    picked = np.where(wants, rng.choice(np.flatnonzero(premium), len(at)), rng.choice(np.flatnonzero(~premium), len(at)))
    start = np.r_[True, at[1:] != at[:-1]]
    nr = np.arange(len(at)) - np.maximum.accumulate(np.where(start, np.arange(len(at)), 0)) + 1
    line = {
        "order_id": at + 50_000, "nr": nr, "product_code": [f"P-{i:04d}" for i in picked], "price": price[picked],
        "pieces": 1 + rng.poisson(np.where(premium[picked], 0.3, 3.0)),
    }  # fmt: skip

    pairs = [(p, t) for p in range(products) for t in range(tags) if rng.random() < (0.5 if premium[p] else 0.1)]
    link = {"product_code": [f"P-{p:04d}" for p, _ in pairs], "tag_id": [t + 1 for _, t in pairs]}
    tag = {"id": np.arange(tags) + 1, "label": [f"tag {i}" for i in range(tags)]}
    made = {
        "region": region, "staff": people, "customer": customer, "order": order, "line": line, "product": product,
        "tag": tag, "product_tag": link,
    }  # fmt: skip
    return {name: pa.table(columns) for name, columns in made.items()}


def shop(customers: int = 250, seed: int = 0) -> Tables:
    return Tables.from_arrow(shop_tables(customers, seed), RELATIONS)
