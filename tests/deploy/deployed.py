"""The processes of compose.yaml and of the Kubernetes overlays in one form: command, environment and mounts."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from tests.deploy.kustomize import Manifest, containers_of, pod_of, render

ROOT: Final = Path(__file__).parents[2]
DEPLOY: Final = ROOT / "deploy"
COMPOSE_FILE: Final = DEPLOY / "compose.yaml"
OVERLAYS: Final = ("small", "production")
COMPOSE: Final = "compose"
SERVERS: Final = ("connector", "catalog", "bff")
"""The processes of ours that serve, in the order of their dependencies."""

_DEFAULT: Final = re.compile(r"\$\{\w+:-(?P<value>[^}]*)\}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Deployed:
    """A container of ours."""

    name: str
    image: str
    command: tuple[str, ...]
    env: Mapping[str, str]
    files: Mapping[str, str]
    """By path in the container, the path in the directory of secrets: "bff" for a mounted Secret, or
    "bff/client_key" for a file."""
    writable: tuple[str, ...]
    """Directories that the container may write to."""
    user: str
    spec: Mapping[str, Any] = field(repr=False)
    """The service of compose.yaml, or the pod of Kubernetes."""


@cache
def compose() -> Manifest:
    """Return compose.yaml with the defaults of its variables."""
    text = _DEFAULT.sub(lambda match: match["value"], COMPOSE_FILE.read_text())
    parsed: Manifest = yaml.safe_load(text)
    return parsed


@cache
def overlay(name: str) -> list[Manifest]:
    """Return the objects of an overlay."""
    return render(DEPLOY / "kubernetes" / "overlays" / name)


def deployed(where: str) -> dict[str, Deployed]:
    """Return our containers by name, of compose.yaml or an overlay: all but PostgreSQL."""
    found = _composed() if where == COMPOSE else _of_overlay(where)
    return {each.name: each for each in found if each.name != "postgres"}


def _composed() -> Iterator[Deployed]:
    parsed = compose()
    sources = {name: _below_secrets(each["file"]) for name, each in parsed["secrets"].items()}
    for name, service in parsed["services"].items():
        yield Deployed(
            name=name,
            image=service["image"],
            command=(*service.get("entrypoint", ()), *service.get("command", ())),
            env={key: str(value) for key, value in service.get("environment", {}).items() if value is not None},
            files={f"/run/secrets/{secret}": sources[secret] for secret in service.get("secrets", ())},
            writable=tuple(volume.split(":")[1] for volume in service.get("volumes", ()) if volume[0] != "."),
            user=service["user"],
            spec=service,
        )


def _below_secrets(file: str) -> str:
    prefix = "./secrets/"
    assert file.startswith(prefix), file
    return file.removeprefix(prefix)


def _of_overlay(name: str) -> Iterator[Deployed]:
    for manifest in overlay(name):
        pod = pod_of(manifest)
        for container in containers_of(manifest):
            assert pod is not None
            volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes", ())}
            mounts = {mount["mountPath"]: volumes.get(mount["name"], {}) for mount in container["volumeMounts"]}
            security = pod["spec"]["securityContext"]
            yield Deployed(
                name=container["name"],
                image=container["image"],
                command=tuple(container.get("command", ())),
                env={variable["name"]: variable["value"] for variable in container["env"]},
                files={
                    path: volume["secret"]["secretName"] for path, volume in mounts.items() if "secret" in volume
                },
                writable=tuple(path for path, volume in mounts.items() if "emptyDir" in volume),
                user=f"{security['runAsUser']}:{security['runAsGroup']}",
                spec=pod["spec"],
            )


def make_secrets(directory: Path) -> Path:
    """Run deploy/make-secrets, and return the directory that it has made."""
    directory.mkdir(exist_ok=True)
    target = directory / "secrets"
    subprocess.run([DEPLOY / "make-secrets", target], check=True, capture_output=True, timeout=60)
    return target
