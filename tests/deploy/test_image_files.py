"""The files of image and releases: everything is pinned, and no secret is sent to the builder of the image."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.deployed import DEPLOY, ROOT, compose, overlay
from tests.deploy.dockerfile import IgnoreFile, NotSupported, read_stages
from tests.deploy.kustomize import containers_of
from tests.deploy.workflow_scripts import WORKFLOWS, scripts
from tools.release_version import versions

DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
PINNED = re.compile(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}")


def workflow(name: str) -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load((WORKFLOWS / name).read_text())
    return parsed


def test_every_base_image_is_pinned_by_its_digest() -> None:
    stages = read_stages(DOCKERFILE)
    bases = [stage.base for stage in stages.values() if stage.base not in stages]
    others = [compose()["services"]["postgres"]["image"]]
    others += [
        each["image"] for one in overlay("small") for each in containers_of(one) if each["name"] == "postgres"
    ]
    assert all(PINNED.fullmatch(image) for image in (*bases, *others)), (bases, others)
    assert len(set(others)) == 1


def test_the_image_has_the_python_that_the_tests_run_with() -> None:
    base = read_stages(DOCKERFILE)["base"].base
    found = re.match(r"python:(\d+\.\d+)\.\d+-", base)
    assert found
    jobs = [job for name in ("ci.yml", "release.yml") for job in workflow(name)["jobs"].values()]
    steps = [step for job in jobs for step in job.get("steps", ())]
    tested = {step["with"]["python-version"] for step in steps if "setup-python" in step.get("uses", "")}
    assert tested == {found[1]}
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["python_version"] == found[1]


def test_the_image_runs_as_a_numeric_user_that_is_not_root() -> None:
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", read_stages(DOCKERFILE)[""].user)


def test_one_version_of_uv() -> None:
    (makefile,) = re.findall(r"^UV_VERSION := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    (build,) = re.findall(r"^uv==(\S+)", (DEPLOY / "build-requirements.txt").read_text(), re.MULTILINE)
    assert makefile == build


@pytest.mark.parametrize(
    "path",
    [
        ".git/config", ".env", ".venv/bin/python", ".demo/keys.json", "deploy/secrets/bff/client_key",
        "deploy/compose.yaml", "tests/conftest.py", "credentials.toml", "catalog_svc/__pycache__/x.pyc",
        "common/x.egg-info/PKG-INFO", "clients/typescript/package.json", "clients/python/dist/x.whl",
    ],
)  # fmt: skip
def test_what_is_not_sent_to_the_builder(path: str) -> None:
    assert IgnoreFile((ROOT / ".dockerignore").read_text()).ignores(path)


@pytest.mark.parametrize(
    "path",
    ["catalog_svc/rpc/servicer.py", "clients/python/pyproject.toml", "uv.lock", "deploy/build-requirements.txt"],
)
def test_what_is_sent_to_the_builder(path: str) -> None:
    assert (ROOT / path).is_file()
    assert not IgnoreFile((ROOT / ".dockerignore").read_text()).ignores(path)


@pytest.mark.parametrize("line", ["ADD x /x", "RUN x", "FROM a\nCOPY --chown=1 a b", "FROM a\nHEALTHCHECK NONE"])
def test_an_instruction_that_the_tests_do_not_run_is_refused(line: str) -> None:
    with pytest.raises(NotSupported):
        read_stages(line)


def uses() -> Iterator[tuple[str, str, str]]:
    """Yield the action, the revision and the comment of each step of the workflows."""
    for file in sorted(WORKFLOWS.glob("*.yml")):
        for action, revision, comment in re.findall(r"uses: ([\w./-]+)@(\S+)(.*)", file.read_text()):
            yield action, revision, comment.strip()


def test_every_action_is_pinned_by_its_commit_with_its_version() -> None:
    found = list(uses())
    assert found
    assert [each for each in found if not re.fullmatch(r"[0-9a-f]{40}", each[1])] == []
    assert [each for each in found if not re.fullmatch(r"# v\d+\.\d+\.\d+", each[2])] == []
    assert len({each[0] for each in found}) == len(set(found)), "an action in two versions"


def test_the_workflow_runs_what_a_developer_runs() -> None:
    (step,) = (each for each in workflow("ci.yml")["jobs"]["checks"]["steps"] if "run" in each)
    assert step["run"] == ".ci/run"


def test_only_jobs_that_publish_have_more_than_read_access() -> None:
    for name in ("ci.yml", "release.yml"):
        parsed = workflow(name)
        assert parsed["permissions"] == {}
        for job, description in parsed["jobs"].items():
            writes = [right for right, value in description["permissions"].items() if value != "read"]
            assert not writes or (name == "release.yml" and job in ("pypi", "npm", "image", "files")), (name, job)
    jobs = workflow("release.yml")["jobs"]
    assert jobs["build"]["needs"] == "ci"
    assert {jobs[job]["needs"] for job in ("pypi", "npm", "image")} == {"build"}
    # Published with a token of the run: no secret of ours is in the repository.
    secrets = set(re.findall(r"secrets\.(\w+)", (WORKFLOWS / "release.yml").read_text()))
    assert secrets == {"GITHUB_TOKEN"}


def test_scripts_of_workflows_are_linted() -> None:
    found = dict(scripts(workflow("release.yml"), "release"))
    assert any("npm publish" in text for text in found.values())
    assert not any("${{" in text for text in found.values())


def test_all_packages_have_one_version() -> None:
    """A release publishes all of them; its first step compares them with the tag."""
    found = versions(ROOT)
    assert len(found) == 7
    assert len(set(found.values())) == 1, found
    tags = {image["newTag"] for name in ("small", "production") for image in _images(name)}
    assert tags == set(found.values())


def _images(name: str) -> Any:
    file = DEPLOY / "kubernetes" / "overlays" / name / "kustomization.yaml"
    return yaml.safe_load(file.read_text())["images"]


def test_the_npm_package_does_not_name_another_repository() -> None:
    """The release sets it to the repository that it runs in; npm refuses the provenance of another one."""
    assert "repository" not in json.loads(Path(ROOT, "clients/typescript/package.json").read_text())
