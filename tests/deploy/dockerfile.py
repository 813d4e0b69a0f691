"""Reads deploy/Dockerfile and .dockerignore, as far as they use what is known here; everything else is refused."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Final

_INSTRUCTIONS: Final = ("FROM", "ENV", "WORKDIR", "COPY", "RUN", "USER", "CMD")


class NotSupported(Exception):
    """An instruction that is not known here."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Copy:
    """COPY: of the context, or of another stage."""

    sources: tuple[str, ...]
    target: str
    stage: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """RUN: a command of the shell, and what is set when it runs."""

    command: str
    directory: str
    env: Mapping[str, str] = field(repr=False)


@dataclass(kw_only=True, slots=True)
class Stage:
    """A stage of the image."""

    name: str
    base: str
    """The name of another stage, or an image."""
    env: dict[str, str] = field(default_factory=dict)
    directory: str = "/"
    user: str = ""
    command: tuple[str, ...] = ()
    steps: list[Copy | Run] = field(default_factory=list)


def read_stages(text: str) -> dict[str, Stage]:
    """Return the stages by name; the last one has the name ""."""
    stages: dict[str, Stage] = {}
    stage: Stage | None = None
    for instruction, argument in _instructions(text):
        if instruction == "FROM":
            base, _, name = argument.partition(" AS ")
            known = stages.get(base)
            stage = Stage(name=name, base=base, env=dict(known.env) if known else {})
            stages[name] = stage
        elif stage is None:
            raise NotSupported(f"{instruction} before FROM")
        else:
            _apply(stage, instruction, argument)
    return stages


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        instruction, _, argument = line.partition(" ")
        if instruction not in _INSTRUCTIONS:
            raise NotSupported(line)
        yield instruction, argument.strip()


def _apply(stage: Stage, instruction: str, argument: str) -> None:
    if instruction == "ENV":
        stage.env |= dict(part.split("=", 1) for part in shlex.split(argument))
    elif instruction == "WORKDIR":
        stage.directory = argument
    elif instruction == "USER":
        stage.user = argument
    elif instruction == "CMD":
        stage.command = tuple(json.loads(argument))
    elif instruction == "RUN":
        stage.steps.append(Run(command=argument, directory=stage.directory, env=dict(stage.env)))
    else:
        stage.steps.append(_copy(stage, shlex.split(argument)))


def _copy(stage: Stage, parts: Sequence[str]) -> Copy:
    source_stage = ""
    if parts[0].startswith("--from="):
        source_stage, parts = parts[0].removeprefix("--from="), parts[1:]
    *sources, target = parts
    if any(part.startswith("--") for part in parts):
        raise NotSupported(" ".join(parts))
    absolute = str(PurePosixPath(stage.directory, target))
    return Copy(sources=tuple(sources), target=absolute, stage=source_stage)


class IgnoreFile:
    """.dockerignore: the last pattern that matches a path, or a directory above it, decides."""

    def __init__(self, text: str) -> None:
        lines = [line.strip() for line in text.splitlines()]
        self._patterns = [
            (line.removeprefix("!"), line.startswith("!")) for line in lines if line and not line.startswith("#")
        ]

    def ignores(self, path: str) -> bool:
        """Return whether a path below the context is not sent to the builder."""
        ignored = False
        parts = PurePosixPath(path).parts
        ancestors = ["/".join(parts[:length]) for length in range(1, len(parts) + 1)]
        for pattern, included in self._patterns:
            if any(_matches(pattern, each) for each in ancestors):
                ignored = not included
        return ignored

    def files(self, context: Path) -> Iterator[str]:
        """Yield the files of the context that are sent to the builder."""
        roots = {PurePosixPath(pattern) for pattern, included in self._patterns if included}
        for root in sorted(roots):
            here = context / root
            found = [here] if here.is_file() else (file for file in here.rglob("*") if file.is_file())
            for file in found:
                name = str(file.relative_to(context))
                if not self.ignores(name):
                    yield name


def _matches(pattern: str, path: str) -> bool:
    if pattern.startswith("**/"):
        return fnmatch(PurePosixPath(path).name, pattern.removeprefix("**/"))
    if "/" in pattern or "*" not in pattern:
        return path == pattern
    return "/" not in path and fnmatch(path, pattern)
