"""Which pages are not written by hand? Those of the command line, of a plan's keys and of modules, and parts of README.md.

MkDocs calls the functions named `on_...`. A page of docs/ takes a section of README.md over where it has the line
`<!-- readme: Title of the section -->`, and without what has a heading of its own below it where it has
`<!-- readme alone: Title -->`. `<!-- pages: folder -->` becomes a list of links to the pages of a folder."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import reference  # noqa: E402

MARK = re.compile(r"^<!-- readme( alone)?: (.+) -->$", re.M)
LIST = re.compile(r"^<!-- pages: (\w+) -->$", re.M)
#: A link whose text is the path that it leads to.
LINK = re.compile(r"\[docs/[^\]]+\]\(docs/([^)]+)\)")
#: Blocks of commands, and a command with what it does at the end of its line.
SHELL, TOLD = re.compile(r"^```(?:bash|sh|text)\n.*?^```$", re.M | re.S), re.compile(r"^(\S.*?) {2,}(# .*)$", re.M)
#: Characters that fit into a line of a block on a page.
FIT = 100
HEADING = re.compile(r"^(#+) (.*)$")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Write the pages of a folder into the navigation where it says `folder/*`."""
    config.nav = [_spread(entry, Path(config.docs_dir)) for entry in config.nav or []]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what the code says of itself."""
    for uri, text in reference.pages().items():
        files.append(File.generated(config, uri, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **kwargs: Any) -> str:
    """Take the sections of README.md over that a page asks for, and list the pages of a folder where it asks for that."""
    markdown = LIST.sub(lambda found: _list(found[1]), markdown)
    markdown = MARK.sub(lambda found: _section(found[2], page.file.src_uri, alone=bool(found[1])), markdown)
    return SHELL.sub(lambda block: _narrow(block[0]), markdown)


def _spread(entry: Any, docs: Path) -> Any:
    if isinstance(entry, str):
        return entry
    ((title, inside),) = entry.items()
    if isinstance(inside, list):
        return {title: [_spread(each, docs) for each in inside]}
    return {title: list(_in_folder(inside[:-2], docs))} if inside.endswith("/*") else entry


def _in_folder(folder: str, docs: Path) -> Iterator[str]:
    """Its pages, the index first."""
    names = [name for name in reference.pages() if name.startswith(f"{folder}/")]
    names += [path.relative_to(docs).as_posix() for path in docs.glob(f"{folder}/*.md")]
    yield from sorted(names, key=lambda name: (not name.endswith("/index.md"), name.removesuffix(".md")))


def _narrow(block: str) -> str:
    """A block with lines that would not fit: what each command does stands above it."""
    return TOLD.sub(r"\2\n\1", block) if max(map(len, block.splitlines())) > FIT else block


def _list(folder: str) -> str:
    """A link to each page of a folder of docs/, by its title."""
    pages = [path for path in sorted((ROOT / "docs" / folder).glob("*.md")) if path.name != "index.md"]
    return "\n".join(f"- [{_title(f'{folder}/{path.name}')}]({path.name})" for path in pages)


def _section(title: str, uri: str, *, alone: bool) -> str:
    """The section without its heading, with links that lead on from docs/. Raises PluginError where there is none."""
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    levels = [_level(line, within) for line, within in zip(lines, _fenced(lines), strict=True)]
    starts = [place for place, line in enumerate(lines) if levels[place] and HEADING.match(line)[2] == title]  # type: ignore[index]
    if len(starts) != 1:
        raise PluginError(f"docs/{uri}: README.md has {len(starts)} sections called {title!r}; name one that is there")
    start = starts[0]
    ends = (place for place in range(start + 1, len(lines)) if levels[place] and (alone or levels[place] <= levels[start]))
    inside = range(start + 1, next(ends, len(lines)))
    text = "\n".join(_raised(lines[place], levels[place], levels[start]) for place in inside)
    return LINK.sub(lambda found: f"[{_title(found[1])}]({found[1]})", text).replace("](docs/", "](")


def _title(page: str) -> str:
    """What a page is called; a file that is none keeps its name."""
    path = ROOT / "docs" / page
    return path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ") if path.suffix == ".md" else path.name


def _raised(line: str, level: int, base: int) -> str:
    """A heading within the section, one below the page's own."""
    return f"{'#' * (level - base + 1)} {line.lstrip('# ')}" if level else line


def _level(line: str, within: bool) -> int:
    found = None if within else HEADING.match(line)
    return len(found[1]) if found else 0


def _fenced(lines: list[str]) -> Iterator[bool]:
    """Whether each line is within a block of code."""
    within = False
    for line in lines:
        if line.startswith("```"):
            within = not within
            yield True
        else:
            yield within
