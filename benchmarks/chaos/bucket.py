"""Is a version whole on S3, or not there and told so in a sentence, when the service fails, is slow, or goes away?"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np

from benchmarks.chaos.ground import PLAN, Ended, Ground, Trial
from benchmarks.chaos.wire import Kind, wire
from data.publish import Publisher

LOST = "neither a whole version nor exit code 2 with a sentence; with a good service the command does not end with one version"
ON_S3 = PLAN.replace("{root: published}", "{root: s3://lake/sets}")
KINDS: tuple[Kind, ...] = ("refuses", "slow", "drops", "dies")
#: Where there is neither a user's own configuration nor a machine that gives credentials.
PLACE = {
    "AWS_ACCESS_KEY_ID": "chaos", "AWS_SECRET_ACCESS_KEY": "chaos", "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}  # fmt: skip


def trials(folder: Path, count: int, seed: int) -> Iterator[Trial]:
    """In turn: a fifth of the calls refused, slow ones, a fifth dropped (half of either carried out), and a dying service."""
    with service() as address, patch.dict(os.environ, PLACE):
        bare(address)
        with wire(address, np.random.default_rng(seed)) as good:
            first = Ground(folder / "undisturbed", ON_S3, PLACE | {"AWS_ENDPOINT_URL": good.endpoint})
            if said := first.run().wrong(0):
                raise RuntimeError(f"the undisturbed run fails: {said}")
            whole = published(good.endpoint)
        for number in range(count):
            place = folder / f"bucket{number:03d}"
            shutil.copytree(first.folder, place)
            unpublished(place)
            yield _bad(place, address, KINDS[number % len(KINDS)], np.random.default_rng([seed, number]), whole)


@contextlib.contextmanager
def service() -> Iterator[str]:
    """host:port of an S3 of our own."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it tells of every call

    running = ThreadedMotoServer(port=0, verbose=False)
    running.start()
    try:
        yield f"127.0.0.1:{running.get_host_and_port()[1]}"
    finally:
        running.stop()


def bare(address: str) -> None:
    """Nothing but an empty bucket is left."""
    import boto3

    urllib.request.urlopen(urllib.request.Request(f"http://{address}/moto-api/reset", method="POST"))  # noqa: S310
    boto3.client("s3", endpoint_url=f"http://{address}", region_name="us-east-1").create_bucket(Bucket="lake")


def unpublished(folder: Path) -> None:
    """Make a run one that has everything but published."""
    for path in folder.glob("runs/iris/*/published.json"):
        path.unlink()
    for path in folder.glob("runs/iris/*/stages.json"):
        path.write_text(json.dumps({name: entry for name, entry in json.loads(path.read_text()).items() if name != "publish"}))


def published(endpoint: str, *, settled: bool = True) -> list[str]:
    """The digests of the data of all versions there. Raises AssertionError where one is not whole or LATEST names none of them;
    settled: or not the newest."""
    to = Publisher("s3://lake/sets", "iris", endpoint_override=endpoint, region="us-east-1", scheme="http")
    names = to.versions()
    # A service that died before LATEST was set leaves a whole version that it does not name yet.
    allowed = [names[-1] if names else None] if settled else [None, *names]
    assert to.latest() in allowed, f"LATEST is {to.latest()} of {names}"
    problems = [problem for name in names for problem in to.verify(name)]
    assert not problems, problems[0]
    return [json.loads(to.store().text(f"{name}/manifest.json") or "{}")["data_sha256"] for name in names]


def _bad(folder: Path, address: str, kind: Kind, rng: np.random.Generator, whole: list[str]) -> Trial:
    bare(address)
    with wire(address, rng) as line:
        ground = Ground(folder, ON_S3, PLACE | {"AWS_ENDPOINT_URL": line.endpoint})
        line.kind, line.left = kind, int(rng.integers(0, 16))
        first = ground.run()
        what = f"{kind}: {line.failed} calls failed, {'published' if first.code == 0 else 'told'}"
        line.kind = "good"
        return Trial(what, first.wrong(0, 2) or _now(line.endpoint, first, whole) or _after(ground, line.endpoint, whole))


def _now(endpoint: str, first: Ended, whole: list[str]) -> str | None:
    try:
        there = published(endpoint, settled=first.code == 0)
    except AssertionError as error:
        return str(error)
    return None if there == whole or (first.code and not there) else f"exit code {first.code} with {len(there)} versions"


def _after(ground: Ground, endpoint: str, whole: list[str]) -> str | None:
    again = ground.run().wrong(0)
    try:
        there = published(endpoint)
    except AssertionError as error:
        return str(error)
    return again or (None if there == whole else f"{len(there)} versions in the end")
