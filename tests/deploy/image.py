"""Builds deploy/Dockerfile without a container engine: its steps run in a `Machine` instead of the base image."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.deploy.deployed import DEPLOY, ROOT
from tests.deploy.dockerfile import Copy, IgnoreFile, Run, Stage, read_stages
from tests.deploy.machine import Machine, open_machine

_FINAL: Final = ""
_SYSTEM_PATH: Final = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
"""The PATH of the base image."""
_NO_CACHES: Final = ("PIP_NO_CACHE_DIR", "UV_NO_CACHE")
"""Left out: with the caches of this machine the build takes seconds."""

_REGISTRY_VARIABLES: Final = r"(PIP|SSL|UV)_|(HTTPS?|NO)_PROXY$|REQUESTS_CA_BUNDLE$"


@dataclass(frozen=True, kw_only=True, slots=True)
class Image:
    """The stages of the image, and a machine in which the build stage has run."""

    stages: dict[str, Stage]
    built: Machine

    @property
    def final(self) -> Stage:
        """The stage that is published."""
        return self.stages[_FINAL]

    @property
    def env(self) -> dict[str, str]:
        """The environment that the image sets."""
        return dict(self.final.env)

    async def install(self, machine: Machine) -> None:
        """Run the steps of the final stage in another machine."""
        await _run_steps(machine, self.final, built=self.built)


@asynccontextmanager
async def build_image() -> AsyncIterator[Image]:
    """Yield the image of this checkout."""
    stages = read_stages((DEPLOY / "Dockerfile").read_text())
    async with open_machine(private_network=False) as machine:
        await _run_steps(machine, stages["build"], built=None)
        yield Image(stages=stages, built=machine)


async def _run_steps(machine: Machine, stage: Stage, *, built: Machine | None) -> None:
    for step in stage.steps:
        if isinstance(step, Run):
            kept = {name: value for name, value in step.env.items() if name not in _NO_CACHES}
            env = {"PATH": _SYSTEM_PATH, "HOME": "/root", **_of_registries(), **kept}
            await machine.shell(f"mkdir -p {step.directory}", env=env)
            await machine.shell(step.command, env=env, directory=step.directory)
        elif step.stage:
            assert built is not None
            await _copy_of_stage(machine, step, built)
        else:
            await _copy_of_context(machine, step)


def _of_registries() -> dict[str, str]:
    """Return how this machine reaches the package registries."""
    return {
        name: value for name, value in os.environ.items() if re.match(_REGISTRY_VARIABLES, name, re.IGNORECASE)
    }


async def _copy_of_context(machine: Machine, step: Copy) -> None:
    """Copy what .dockerignore leaves of the checkout."""
    files = list(IgnoreFile((ROOT / ".dockerignore").read_text()).files(ROOT))
    copied: dict[str, Path] = {}
    for source in step.sources:
        found = [name for name in files if source in (".", name)]
        assert found, f"COPY {source}: no such file in the context"
        copied |= {
            str(Path(step.target, name if source == "." else Path(name).name)): ROOT / name for name in found
        }
    await machine.put(copied)


async def _copy_of_stage(machine: Machine, step: Copy, built: Machine) -> None:
    (source,) = step.sources
    result = await machine.run(
        machine.entered("cp", "--archive", f"{built.layer}{source}", f"{machine.root}{step.target}")
    )
    assert result.code == 0, result.err
