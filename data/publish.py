"""How does a judged dataset become a version that readers can trust? Staged, sealed by a manifest, the pointer last."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from data.card import Facts, card, class_counts
from data.croissant import croissant
from data.errors import PublishError
from data.objects import ObjectStore
from data.remote import is_remote, opened
from data.s3 import CLAIM, S3Store
from data.schema import Schema
from data.shards import SYNTHETIC, Written, read_parts, write_shards
from data.stores import MANIFEST, POINTER, QUARANTINE, LocalStore, Store, version_name, version_number

FORMAT = 1
PUBLISHABLE = ("PASS", "WARN")
#: What can name a folder.
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"

#: Record batches as they are drawn, or Parquet files to read in turn.
Parts = Iterable[pa.RecordBatch] | Sequence[Path | str]


@dataclass(frozen=True)
class Version:
    """A published version: `files` are paths below `uri`; `sha256` is over the data files in order."""

    number: int
    name: str
    uri: str
    files: tuple[str, ...]
    rows: int
    sha256: str


@dataclass(frozen=True)
class Quarantined:
    """What did not pass, and where it lies with its report."""

    uri: str
    rows: int
    sha256: str


@dataclass(frozen=True)
class Publisher:
    """Publishes versions of one dataset under `root`: a folder, `s3://bucket/prefix`, `gs://bucket/prefix`,
    `az://container/prefix` or `abfs://container@account.dfs.core.windows.net/prefix`.

    Fields:
        root: where datasets lie; dataset: the name of this one, a single path segment.
        endpoint_override, region, scheme: another store than the service's own ("127.0.0.1:9000", "us-east-1", "http").
        attempts, pause: requests to S3 are repeated that often, after `pause` seconds, doubled each time.
    """

    root: str
    dataset: str
    _: KW_ONLY
    endpoint_override: str | None = None
    region: str | None = None
    scheme: str = "https"
    attempts: int = 6
    pause: float = 0.5

    def publish(self, parts: Parts, *, schema: Schema, run_id: str, report_json: bytes | Path, report_html: Path,
                facts: Facts | Mapping[str, Any], lineage: Mapping[str, Any], plan_yaml: str,
                rows_per_file: int | None = None) -> Version:  # fmt: skip
        """Write the next version and move LATEST to it; all or nothing.

        Memory does not grow with the rows. The same rows give the same Parquet bytes.

        Raises PublishError when the verdict is not PASS or WARN, a `release` holds a real row, or the target refuses.
        """
        known = Facts.of(facts)
        if known.verdict not in PUBLISHABLE:
            raise PublishError(f"verdict {known.verdict}: only {' or '.join(PUBLISHABLE)} is published; quarantine the rows")
        store = self.store(run_id)
        with store.staging(run_id) as folder:
            content = _Content(folder, self.dataset, run_id, known, schema, dict(lineage), plan_yaml)
            written = content.write(parts, report_json, report_html, rows_per_file)
            number = store.place(folder, lambda number: content.seal(written, number))
        name = version_name(number)
        files = tuple(f"data/{path.name}" for path in written.files)
        return Version(number, name, store.uri(name), files, written.total, content.data_digest(written))

    def quarantine(self, parts: Parts, *, schema: Schema, run_id: str, report_json: bytes | Path, report_html: Path,
                   facts: Facts | Mapping[str, Any], lineage: Mapping[str, Any], plan_yaml: str,
                   rows_per_file: int | None = None) -> Quarantined:  # fmt: skip
        """Set rows that did not pass aside under `quarantine/<run id>/`; a run judged again replaces its own."""
        store = self.store(run_id)
        with store.staging(run_id) as folder:
            content = _Content(folder, self.dataset, run_id, Facts.of(facts), schema, dict(lineage), plan_yaml)
            written = content.write(parts, report_json, report_html, rows_per_file)
            content.seal(written, None)
            return Quarantined(store.set_aside(folder, run_id), written.total, content.data_digest(written))

    def newest(self) -> int:
        """The number that LATEST names, 0 before the first version: what `resume` is told after a kill."""
        return version_number(self.latest() or "") or 0

    def resume(self, run_id: str, *, after: int) -> Version | None:
        """The version above number `after` that a publish of this run put there whole before it was killed, with LATEST
        moved to it or beyond; None where it had not come so far."""
        store = self.store(run_id)
        for name in reversed(store.versions(after)):
            manifest = json.loads(store.text(f"{name}/{MANIFEST}") or "{}")
            if manifest.get("run_id") == run_id:
                number = version_number(name) or 0
                store.point(number)
                files = tuple(entry["path"] for entry in manifest["files"] if entry["path"].startswith("data/"))
                return Version(number, name, store.uri(name), files, manifest["rows"], manifest["data_sha256"])
        return None

    def latest(self) -> str | None:
        """The version that LATEST names, None before the first one."""
        return self.store().latest()

    def versions(self) -> list[str]:
        """The names of the complete versions, oldest first."""
        return self.store().versions()

    def tags(self) -> dict[str, str]:
        """Tag -> the version that it names."""
        return self.store().tags()

    def tag(self, label: str, name: str | None) -> None:
        """Let a tag name a version, which is then never pruned; None removes the tag.

        Raises PublishError for a tag that cannot be one, a version that is not there, and a tag to remove that is not."""
        store = self.store()
        if not re.fullmatch(NAME, label) or version_number(label) is not None or label == POINTER:
            raise PublishError(f"{label!r} cannot be a tag; use letters, digits, '.', '_', '-', and no version's name")
        if name is not None and name not in (held := store.versions()):
            raise PublishError(f"{store.uri()} has no version {name!r}; it has {', '.join(held[-5:]) or 'none'}")
        if name is None and label not in (known := store.tags()):
            raise PublishError(f"{store.uri()} has no tag {label!r}; it has {', '.join(known) or 'none'}")
        store.tag(label, name)

    def prune(self, keep: int, *, dry: bool = False) -> list[str]:
        """Remove all versions but the last `keep`, that which LATEST names and those that tags name; of what lies in quarantine
        all but the last `keep`. Names of what is removed (dry: would be), oldest first."""
        store = self.store()
        held, stay = store.versions(), {store.latest(), *store.tags().values()}
        gone = [name for name in held[: max(len(held) - keep, 0)] if name not in stay]
        aside = [name for name in store.placed() if name.startswith(f"{QUARANTINE}/")]
        gone += aside[: max(len(aside) - keep, 0)]
        for name in gone if not dry else ():
            store.remove(name)
        return gone

    def uri(self, name: str = "") -> str:
        """Where a version (or the dataset) lies."""
        return self.store().uri(name)

    def verify(self, name: str) -> list[str]:
        """What is wrong with a version, read again against its manifest; empty when nothing is."""
        store = self.store()
        if isinstance(store, S3Store):
            return _verify(store.filesystem, f"{store.bucket}/{store.key(name)}", store.uri(name))
        if isinstance(store, ObjectStore):
            return _verify(store.filesystem, store.path(name), store.uri(name))
        return _verify(fs.LocalFileSystem(), store.uri(name), store.uri(name))

    def store(self, run_id: str = "run") -> Store:
        """The place of the versions; run_id: whose rows go there. Raises PublishError for a wrong root or name."""
        for what, text in (("dataset", self.dataset), ("run id", run_id)):
            if not re.fullmatch(NAME, text):
                raise PublishError(f"{what} {text!r} cannot name a folder; use letters, digits, '.', '_', '-'")
        if self.root.startswith("s3://"):
            if not self.root.removeprefix("s3://").partition("/")[0]:
                raise PublishError(f"{self.root!r} names no bucket; write s3://bucket/prefix")
            return S3Store(self.root, self.dataset, self.endpoint_override, self.region, self.scheme, self.attempts, self.pause)
        if is_remote(self.root):
            endpoint = f"{self.scheme}://{self.endpoint_override}" if self.endpoint_override else None
            return ObjectStore(self.root, self.dataset, endpoint)
        if "://" in self.root.removeprefix("file://"):
            raise PublishError(
                f"{self.root!r} is neither a folder nor s3://, gs:// or az://bucket/prefix; those are what can be published to"
            )
        return LocalStore(Path(self.root.removeprefix("file://")).expanduser(), self.dataset)


def verify(uri: str, *, endpoint_override: str | None = None, region: str | None = None, scheme: str = "https") -> list[str]:
    """What is wrong with the version at `uri`, a folder or an address, against its manifest; empty when nothing is."""
    root, _, name = uri.rstrip("/").rpartition("/")
    parent, _, dataset = root.rpartition("/")
    if uri.startswith("s3://"):
        store = S3Store(parent, dataset, endpoint_override, region, scheme)
        return _verify(store.filesystem, uri.removeprefix("s3://").rstrip("/"), uri)
    if is_remote(uri):
        return _verify(*opened(uri, endpoint=f"{scheme}://{endpoint_override}" if endpoint_override else None), uri)
    return _verify(fs.LocalFileSystem(), str(Path(uri).resolve()), uri)


@dataclass
class _Content:
    """What goes into one version's folder."""

    folder: Path
    dataset: str
    run_id: str
    facts: Facts
    schema: Schema
    lineage: dict[str, Any]
    plan_yaml: str

    def write(self, parts: Parts, report_json: bytes | Path, report_html: Path, rows_per_file: int | None) -> Written:
        """Data and reports: all that does not name the version."""
        written = write_shards(read_parts(parts), self.folder / "data", schema=self.schema, rows_per_file=rows_per_file)
        self._check_marks(written)
        _copy_report(report_html, self.folder / "report.html")
        if isinstance(report_json, bytes):
            (self.folder / "report.json").write_bytes(report_json)
        else:
            _copy_report(report_json, self.folder / "report.json")
        self.files_ = {path.relative_to(self.folder).as_posix(): self._about(path) for path in _files(self.folder)}
        for path, rows in zip(written.files, written.rows, strict=True):
            self.files_[f"data/{path.name}"]["rows"] = rows
        return written

    def seal(self, written: Written, number: int | None) -> None:
        """Card, Croissant and the manifest, which names every other file; again when the number changes."""
        data = {name: about for name, about in self.files_.items() if name.startswith("data/")}
        size = sum(about["bytes"] for about in data.values())
        name = None if number is None else version_name(number)
        text = card(self.facts, written, self.schema, dataset=self.dataset, version=name, data_bytes=size)
        jsonld = croissant(self.facts, written.arrow, self.schema, dataset=self.dataset, number=number, files=data)
        (self.folder / "README.md").write_text(text, encoding="utf-8")
        (self.folder / "croissant.json").write_text(json.dumps(jsonld, indent=1) + "\n")
        files = self.files_ | {n: self._about(self.folder / n) for n in ("README.md", "croissant.json")}
        manifest = {
            "format": FORMAT, "dataset": self.dataset, "version": name, "run_id": self.run_id, "purpose": self.facts.purpose,
            "verdict": self.facts.verdict, "rows": written.total, "data_sha256": self.data_digest(written),
            "files": [{"path": path, **files[path]} for path in sorted(files)],
            "schema": public_schema(self.schema, self.facts.purpose), "plan": self.plan_yaml, "lineage": self.lineage,
            "counts": class_counts(self.facts, written, self.schema), "moved": list(self.facts.moved),
        }  # fmt: skip
        (self.folder / MANIFEST).write_text(json.dumps(manifest, indent=1, default=str) + "\n")

    def data_digest(self, written: Written) -> str:
        """sha256 over the sha256 of each data file, in order."""
        digests = [self.files_[f"data/{path.name}"]["sha256"] for path in written.files]
        return hashlib.sha256("".join(digests).encode()).hexdigest()

    def _about(self, path: Path) -> dict[str, Any]:
        with path.open("rb") as file:
            return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}

    def _check_marks(self, written: Written) -> None:
        marks = {mark for _, mark in written.counts}
        if self.facts.purpose == "release" and False in marks:
            raise PublishError(f"a release holds synthetic rows only, but some say {SYNTHETIC} = false; leave them out")
        if self.facts.purpose == "augment" and None in marks:
            raise PublishError(f"purpose augment needs a boolean column {SYNTHETIC} without nulls as mark")


def public_schema(schema: Schema, purpose: str) -> dict[str, Any]:
    """The schema as the manifest shows it.

    For a release, bounds and levels that were taken from the data (not declared in the plan) are left out: a least or greatest
    value, or a level of one person, is a real value.
    """
    value = schema.to_json()
    if purpose != "release":
        return value
    for shown, column in zip(value["columns"], schema, strict=True):
        del shown["null_share"]
        for name, blank in (("low", None), ("high", None), ("decimals", None), ("categories", ())):
            if name not in column.declared:
                shown[name] = blank
    return value


def _copy_report(source: Path, target: Path) -> None:
    if not source.is_file():
        raise PublishError(f"{source} is missing, and a version is not published without its report; run the judge stage again")
    shutil.copyfile(source, target)


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def _verify(system: fs.FileSystem, root: str, uri: str) -> list[str]:
    try:
        with system.open_input_file(f"{root}/{MANIFEST}") as file:
            manifest = json.loads(file.read())
    except (OSError, ValueError) as error:
        return [f"{uri}/{MANIFEST} cannot be read ({' '.join(str(error).split())[:120]}); this is no complete version"]
    if manifest.get("format") != FORMAT:
        return [f"{uri}/{MANIFEST}: format {manifest.get('format')} is not {FORMAT}"]
    problems = [problem for entry in manifest["files"] for problem in _verify_file(system, root, entry)]
    listed = {entry["path"] for entry in manifest["files"]} | {MANIFEST, CLAIM}
    found = system.get_file_info(fs.FileSelector(root, recursive=True))
    names = [info.path.strip("/").removeprefix(root.strip("/")).lstrip("/") for info in found if info.type == fs.FileType.File]
    return problems + [f"{name} is not in the manifest" for name in sorted(set(names) - listed)]


def _verify_file(system: fs.FileSystem, root: str, entry: Mapping[str, Any]) -> list[str]:
    name, path = entry["path"], f"{root}/{entry['path']}"
    if name.startswith("/") or ".." in PurePosixPath(name).parts:
        return [f"{name!r} in the manifest lies outside of the version"]
    try:
        with system.open_input_file(path) as file:
            if _digest(file.read) != entry["sha256"]:
                return [f"{name} does not have the sha256 of the manifest"]
            if "rows" in entry and (rows := pq.ParquetFile(file).metadata.num_rows) != entry["rows"]:
                return [f"{name} holds {rows} rows, the manifest says {entry['rows']}"]
    except OSError as error:
        return [f"{name} cannot be read ({' '.join(str(error).split())[:120]})"]
    return []


def _digest(read: Callable[[int], bytes]) -> str:
    seal = hashlib.sha256()
    while chunk := read(8 << 20):
        seal.update(chunk)
    return seal.hexdigest()
