"""How is a version put on S3? A number is claimed and LATEST is set by conditional puts, which S3 knows."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from data.buckets import Bucket
from data.errors import PublishError
from data.stores import MANIFEST, POINTER, QUARANTINE, TAGS, in_order, version_name, version_number

if TYPE_CHECKING:
    from pyarrow.fs import S3FileSystem

CLAIM = ".claim"
CHUNK = 8 << 20
#: Races for LATEST or a number that one publisher may lose before it gives up; each loss means that another one won.
RACES = 1000

T = TypeVar("T")


class LostRaceError(Exception):
    """Another publisher wrote the object between our look and our conditional put."""


@dataclass(frozen=True)
class S3Store(Bucket):
    """Versions under `s3://bucket/prefix/<dataset>/`.

    A number is claimed by a conditional put of `v000007/.claim` (If-None-Match: *). Data go under that prefix, which no one
    else writes to; the manifest is the last object, and a prefix without one is no version. LATEST is set by compare-and-set
    on its ETag. Claims stay: they keep a late publisher from taking a number twice.

    Fields:
        endpoint: host:port of another S3 than Amazon's; None for Amazon's or what AWS_ENDPOINT_URL names.
        attempts: how often a request is made before its failure counts; pause: seconds before the second attempt,
            doubled each time.
    """

    root: str
    dataset: str
    endpoint: str | None = None
    region: str | None = None
    scheme: str = "https"
    attempts: int = 6
    pause: float = 0.5

    @property
    def bucket(self) -> str:
        return self.root.removeprefix("s3://").partition("/")[0]

    def key(self, name: str = "") -> str:
        prefix = self.root.removeprefix("s3://").partition("/")[2].strip("/")
        return "/".join(part for part in (prefix, self.dataset, name) if part)

    def uri(self, name: str = "") -> str:
        return f"s3://{self.bucket}/{self.key(name)}"

    def refusing(self, doing: str = "publish to") -> AbstractContextManager[None]:
        return explained_aws(self.uri(), doing)

    def _look(self) -> None:
        self._retried(lambda client: client.list_objects_v2(Bucket=self.bucket, Prefix=self.key("v"), MaxKeys=1))

    @property
    def _faults(self) -> tuple[type[Exception], ...]:
        from botocore.exceptions import BotoCoreError, ClientError

        return (BotoCoreError, ClientError)

    def _named(self) -> str | None:
        return self._pointer()[0]

    def latest(self) -> str | None:
        with self.refusing("read from"):
            return self._pointer()[0]

    def versions(self, after: int = 0) -> list[str]:
        with self.refusing("read from"):
            names = [version_name(n) for n in self._numbers() if n > after]
            return [name for name in names if self._get(f"{name}/{MANIFEST}") is not None]

    def text(self, name: str) -> str | None:
        with self.refusing("read from"):
            found = self._get(name)
        return None if found is None else found[0]

    def put(self, name: str, text: str) -> None:
        with self.refusing():
            self._put(name, text, ContentType="text/html; charset=utf-8")

    def point(self, number: int) -> None:
        with self.refusing():
            self._point(number)

    def placed(self) -> dict[str, float]:
        with self.refusing("read from"):
            found = {entry["Key"]: entry["LastModified"] for below in ("v", f"{QUARANTINE}/") for entry in self._listed(below)}
        names = {key[len(self.key()) + 1 :].removesuffix(f"/{MANIFEST}"): when for key, when in found.items()
                 if key.endswith(f"/{MANIFEST}")}  # fmt: skip
        sealed = {name: when for name, when in names.items() if version_number(name) or name.startswith(f"{QUARANTINE}/")}
        return in_order({name: when.timestamp() for name, when in sealed.items()})

    def tags(self) -> dict[str, str]:
        with self.refusing("read from"):
            names = [entry["Key"].rsplit("/", 1)[-1] for entry in self._listed(f"{TAGS}/")]
            held = {name: self._get(f"{TAGS}/{name}") for name in sorted(names)}
        return {name: found[0].strip() for name, found in held.items() if found is not None}

    def tag(self, label: str, name: str | None) -> None:
        with self.refusing():
            if name is None:
                self._retried(partial(delete_object, self.bucket, self.key(f"{TAGS}/{label}")))
            else:
                self._put(f"{TAGS}/{label}", name + "\n")

    def remove(self, name: str) -> None:
        if self.latest() == name or name in self.tags().values():
            raise PublishError(f"{self.uri(name)} is what LATEST or a tag names; it stays")
        with self.refusing("remove from"):
            self._remove(name)

    def _listed(self, below: str) -> list[dict[str, Any]]:
        """Every object whose name begins so."""

        def entries(client: Any) -> list[dict[str, Any]]:
            pages = client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.key(below))
            return [entry for page in pages for entry in page.get("Contents", [])]

        return self._retried(entries)

    @cached_property
    def filesystem(self) -> S3FileSystem:
        """Arrow's file system for the same endpoint; its own retries are off, since `_retried` bounds them for all."""
        return self.connected(1)

    def connected(self, attempts: int) -> S3FileSystem:
        """Arrow's file system that makes each request so often."""
        from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem

        where = {"endpoint_override": self._endpoint, "scheme": self._scheme} if self._endpoint else {}
        region = {"region": self._region} if self._region else {}
        return S3FileSystem(
            **where, **region, connect_timeout=10, request_timeout=60,
            retry_strategy=AwsStandardS3RetryStrategy(max_attempts=attempts),
            allow_delayed_open=True,  # a small file is one request instead of three
        )  # fmt: skip

    @property
    def _endpoint(self) -> str | None:
        url = self.endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        return url.partition("://")[2] or url if url else None

    @property
    def _scheme(self) -> str:
        url = self.endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
        return url.partition("://")[0] if "://" in url else self.scheme

    @property
    def _region(self) -> str | None:
        return self.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")

    @cached_property
    def _client(self) -> Any:
        import boto3
        from botocore.config import Config

        config = Config(retries={"total_max_attempts": 1}, connect_timeout=10, read_timeout=60,
                        s3={"addressing_style": "path"} if self._endpoint else {})  # fmt: skip
        url = f"{self._scheme}://{self._endpoint}" if self._endpoint else None
        return boto3.session.Session().client("s3", endpoint_url=url, region_name=self._region or "us-east-1", config=config)

    def _retried(self, call: Callable[[Any], T]) -> T:
        """Make a request up to `attempts` times while the service is busy or unreachable."""
        for attempt in range(1, self.attempts + 1):
            try:
                return call(self._client)
            except Exception as error:
                if _is_lost_race(error):
                    raise LostRaceError from error
                if attempt == self.attempts or not _is_passing(error):
                    raise
                time.sleep(min(self.pause * 2 ** (attempt - 1), 20.0))
        raise AssertionError("attempts must be at least 1")

    def _get(self, name: str) -> tuple[str, str] | None:
        """(text, ETag) of a small object, None when there is none."""
        from botocore.exceptions import ClientError

        def get(client: Any) -> tuple[str, str] | None:
            try:
                answer = client.get_object(Bucket=self.bucket, Key=self.key(name))
            except ClientError as error:
                if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
                    return None
                raise
            return answer["Body"].read().decode(), answer["ETag"]

        return self._retried(get)

    def _put(self, name: str, text: str, **condition: str) -> None:
        """A conditional put. Raises LostRaceError when the condition does not hold and the object is not already ours."""
        try:
            self._retried(lambda c: c.put_object(Bucket=self.bucket, Key=self.key(name), Body=text.encode(), **condition))
        except LostRaceError:
            # A first attempt may have been carried out though its answer was lost; then the object holds our text.
            found = self._get(name)
            if found is None or found[0] != text:
                raise

    def _numbers(self) -> list[int]:
        def prefixes(client: Any) -> list[str]:
            pages = client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.key("v"), Delimiter="/")
            return [entry["Prefix"] for page in pages for entry in page.get("CommonPrefixes", [])]

        found = (version_number(prefix.rstrip("/").rsplit("/", 1)[-1]) for prefix in self._retried(prefixes))
        return sorted(n for n in found if n is not None)

    def _claim(self) -> int:
        token = secrets.token_hex(16)
        number = max([0, *self._numbers(), version_number(self._pointer()[0] or "") or 0])
        for _ in range(RACES):
            number += 1
            with contextlib.suppress(LostRaceError):
                self._put(f"{version_name(number)}/{CLAIM}", token, IfNoneMatch="*")
                return number
        raise PublishError(f"cannot publish to {self.uri()}: {RACES} numbers in a row were taken by others; try again later")

    def _send(self, path: Path, name: str) -> None:
        self._retried(partial(self._copy, path, f"{self.bucket}/{self.key(name)}"))

    def _copy(self, path: Path, key: str, _: object) -> None:
        with path.open("rb") as source, self.filesystem.open_output_stream(key) as target:
            while chunk := source.read(CHUNK):
                target.write(chunk)

    def _pointer(self) -> tuple[str | None, str | None]:
        """(version named by LATEST, ETag)."""
        found = self._get(POINTER)
        if found is None:
            return None, None
        if version_number(found[0]) is None:
            raise PublishError(f"{self.uri(POINTER)} holds {found[0][:40]!r}, no version; write the newest one's name")
        return found[0].strip(), found[1]

    def _point(self, number: int) -> None:
        for _ in range(RACES):
            name, etag = self._pointer()
            if name is not None and (version_number(name) or 0) >= number:
                return
            condition = {"IfMatch": etag} if etag else {"IfNoneMatch": "*"}
            with contextlib.suppress(LostRaceError):
                self._put(POINTER, version_name(number) + "\n", **condition)
                return
        raise PublishError(f"cannot publish to {self.uri()}: LATEST was changed by others {RACES} times; try again later")

    def _remove(self, name: str) -> None:
        """Delete what lies under `name`: the manifest first, so that half a removal is no version; the claim last."""
        order = {f"{self.key(name)}/{MANIFEST}": 0, f"{self.key(name)}/{CLAIM}": 2}
        found = [entry["Key"] for entry in self._listed(f"{name}/")]
        for key in sorted(found, key=lambda key: order.get(key, 1)):
            self._retried(partial(delete_object, self.bucket, key))
        self._retried(partial(_abort_uploads, self.bucket, self.key(name) + "/"))


def delete_object(bucket: str, key: str, client: Any) -> None:
    """Delete an object, if it is there."""
    client.delete_object(Bucket=bucket, Key=key)


def _abort_uploads(bucket: str, prefix: str, client: Any) -> None:
    # Parts of an upload that was never completed are invisible, but they are stored and paid for.
    for upload in client.list_multipart_uploads(Bucket=bucket, Prefix=prefix).get("Uploads", []):
        client.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])


def _status(error: BaseException) -> int | None:
    from botocore.exceptions import ClientError

    if isinstance(error, ClientError):
        return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    found = re.search(r"HTTP status (?:code:? )?(\d{3})|\[code: \d+\].*?(\d{3})", str(error), re.IGNORECASE)
    return int(found[1] or found[2]) if found else None


def _is_lost_race(error: BaseException) -> bool:
    from botocore.exceptions import ClientError

    return isinstance(error, ClientError) and _status(error) in (409, 412)


def _is_passing(error: BaseException) -> bool:
    """Whether the same request may succeed later."""
    from botocore.exceptions import ClientError, HTTPClientError
    from botocore.exceptions import ConnectionError as Unreachable

    if isinstance(error, ClientError):
        return _status(error) in (429, 500, 502, 503, 504) or error.response["Error"]["Code"] in ("SlowDown", "RequestTimeout")
    if isinstance(error, OSError) and error.errno is None:
        # Arrow's words for what S3 said; the bucket and the keys were found good by the requests before.
        return not re.search("ACCESS_DENIED|NO_SUCH_BUCKET|INVALID_ACCESS_KEY", str(error))
    return isinstance(error, Unreachable | HTTPClientError)


@contextlib.contextmanager
def explained_aws(where: str, doing: str = "publish to") -> Iterator[None]:
    """Turn what the service refuses into one PublishError sentence."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError, OSError) as error:
        notes = "".join(f"; {note}" for note in getattr(error, "__notes__", []))
        raise PublishError(f"cannot {doing} {where}: {_aws_cause(error)}{notes}") from error


def _aws_cause(error: Exception) -> str:
    from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, NoCredentialsError, PartialCredentialsError
    from botocore.exceptions import ConnectionError as Unreachable

    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return "no AWS credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
    if isinstance(error, ClientError):
        return _client_cause(error)
    if isinstance(error, Unreachable | HTTPClientError):
        return f"the service cannot be reached ({error}); check the endpoint and the network, then run again"
    if isinstance(error, BotoCoreError) or error.errno is None:  # type: ignore[attr-defined]
        return f"the service failed ({' '.join(str(error).split())[:200]}); run again later"
    return f"{error}"


def _client_cause(error: Any) -> str:
    code, status = error.response["Error"]["Code"], _status(error)
    if code in ("NoSuchBucket",):
        return "the bucket does not exist; create it or name another one"
    if status == 403 or code in ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"):
        return f"access was refused ({code}); check the credentials and the bucket's policy"
    if status in (429, 500, 502, 503, 504):
        return f"the service answered {status} ({code}) to every attempt; try again later"
    return f"the service answered {status} ({code}: {error.response['Error'].get('Message', '')})"
