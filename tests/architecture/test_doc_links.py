"""Links between the documents lead somewhere, and so do the documents that code, settings and scripts name."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^( *)```.*?^\1```", re.DOTALL | re.MULTILINE)
_NAMED = re.compile(r"(?<![\w/.-])docs/[\w/-]+\.md(?:#[\w-]+)?")
_NOT_TEXT = (".png", ".svg", ".binpb", ".lock", ".gz", ".json")


def tracked_files() -> list[Path]:
    """Return the files of the repository."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in names.split("\0") if name and (ROOT / name).is_file()]


@cache
def anchors(file: Path) -> frozenset[str]:
    """Return the anchors of a file: those that GitHub gives to its headings, and its own."""
    text = _FENCE.sub("", file.read_text(encoding="utf-8"))
    found: list[str] = re.findall(r'<a id="([\w-]+)">', text)
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        plain = re.sub(r"[`*]|\]\([^)]*\)|\[", "", heading).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        count = found.count(slug)
        found += [slug, f"{slug}-{count}"] if count else [slug]
    return frozenset(found)


def problem(target: Path, anchor: str) -> str | None:
    """Return what is wrong with a link, if something is."""
    if not target.exists():
        return "does not exist"
    if anchor and target.suffix == ".md" and anchor not in anchors(target):
        return "has no such anchor"
    return None


def test_links_between_documents_lead_to_existing_headings() -> None:
    wrong = []
    for file in tracked_files():
        if file.suffix != ".md":
            continue
        for link in _LINK.findall(_FENCE.sub("", file.read_text(encoding="utf-8"))):
            if "://" in link or link.startswith("mailto:"):
                continue
            path, _, anchor = link.partition("#")
            if found := problem((file.parent / path).resolve() if path else file, anchor):
                wrong.append(f"{file.relative_to(ROOT)}: {link} {found}")
    assert wrong == []


def test_documents_that_other_files_name_exist() -> None:
    """For instance in a message of a program, in a comment of a settings file, in a manifest."""
    wrong = []
    for file in tracked_files():
        if file == Path(__file__) or file.name.endswith(_NOT_TEXT):
            continue
        for name in _NAMED.findall(file.read_text(encoding="utf-8", errors="replace")):
            path, _, anchor = name.partition("#")
            if found := problem(ROOT / path, anchor):
                wrong.append(f"{file.relative_to(ROOT)}: {name} {found}")
    assert wrong == []
