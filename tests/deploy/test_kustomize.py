"""The renderer follows the rules of strategic merges, and refuses what it does not know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.kustomize import NotSupported, differences, merged, render

DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "a"},
    "spec": {
        "replicas": 1,
        "template": {
            "metadata": {},
            "spec": {"containers": [{"name": "a", "image": "catalogsync", "env": [{"name": "X", "value": "1"}]}]},
        },
    },
}


def write(directory: Path, kustomization: dict[str, Any], *patches: dict[str, Any]) -> Path:
    (directory / "kustomization.yaml").write_text(yaml.safe_dump({"resources": ["a.yaml"], **kustomization}))
    (directory / "a.yaml").write_text(yaml.safe_dump(DEPLOYMENT))
    (directory / "patch.yaml").write_text(yaml.safe_dump_all(patches))
    return directory


def patch_of(spec: dict[str, Any], name: str = "a") -> dict[str, Any]:
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def test_a_patch_merges_maps_and_lists_by_their_keys_and_removes_with_null(tmp_path: Path) -> None:
    env = [{"name": "X", "value": "2"}, {"name": "Y", "value": "3"}]
    patch = patch_of({"replicas": None, "template": {"spec": {"containers": [{"name": "a", "env": env}]}}})
    (found,) = render(write(tmp_path, {"patches": [{"path": "patch.yaml"}]}, patch))
    assert "replicas" not in found["spec"]
    assert found["spec"]["template"]["spec"]["containers"] == [{"name": "a", "image": "catalogsync", "env": env}]


def test_namespace_labels_and_images_are_set(tmp_path: Path) -> None:
    image = {"name": "catalogsync", "newName": "ghcr.io/x/catalogsync", "newTag": "1.2.3"}
    settings = {"namespace": "n", "labels": [{"pairs": {"l": "v"}}], "images": [image]}
    (found,) = render(write(tmp_path, settings))
    assert found["metadata"] == {"name": "a", "namespace": "n", "labels": {"l": "v"}}
    assert found["spec"]["template"]["spec"]["containers"][0]["image"] == "ghcr.io/x/catalogsync:1.2.3"
    # Labels of pods and selectors stay, since a selector cannot be changed.
    assert found["spec"]["template"]["metadata"] == {}


@pytest.mark.parametrize(
    "kustomization",
    [
        {"configMapGenerator": [{"name": "x"}]},
        {"replicas": [{"name": "a", "count": 2}]},
        {"labels": [{"pairs": {"l": "v"}, "includeSelectors": True}]},
        {"patches": [{"path": "patch.yaml", "target": {"kind": "Deployment"}}]},
        {"images": [{"name": "catalogsync", "digest": "sha256:0"}]},
        {"resources": ["a.yaml", "a.yaml"]},
    ],
)
def test_what_is_not_rendered_is_refused(tmp_path: Path, kustomization: dict[str, Any]) -> None:
    with pytest.raises(NotSupported):
        render(write(tmp_path, kustomization, patch_of({"replicas": 2})))


@pytest.mark.parametrize(
    "patches",
    [
        (patch_of({"replicas": 2}, name="b"),),
        (patch_of({"replicas": 2}), patch_of({"replicas": 3})),
        (patch_of({"template": {"spec": {"$patch": "replace"}}}),),
    ],
)
def test_a_patch_of_nothing_or_of_more_than_one_object_is_refused(
    tmp_path: Path, patches: tuple[dict[str, Any], ...]
) -> None:
    with pytest.raises(NotSupported):
        render(write(tmp_path, {"patches": [{"path": "patch.yaml"}]}, *patches))


def test_a_list_without_a_known_key_is_not_guessed() -> None:
    with pytest.raises(NotSupported, match="egress"):
        merged({"egress": [{"to": []}]}, {"egress": [{"to": []}]})


def test_two_renderings_are_compared_without_the_order_of_keyed_lists() -> None:
    def deployment(*env: str, replicas: int = 1) -> dict[str, Any]:
        container = {"name": "a", "env": [{"name": name, "value": "1"} for name in env], "args": list(env)}
        return patch_of({"replicas": replicas, "template": {"spec": {"containers": [container]}}})

    assert differences([deployment("X")], [deployment("X")]) == []
    assert differences([deployment("X")], [deployment("X", replicas=2)]) == ["apps/v1 Deployment a"]
    assert differences([deployment("X")], []) == ["apps/v1 Deployment a"]
    ours, others = deployment("X", "Y"), deployment("Y", "X")
    assert differences([ours], [others]) == ["apps/v1 Deployment a"]
    for each in (ours, others):
        del each["spec"]["template"]["spec"]["containers"][0]["args"]
    assert differences([ours], [others]) == []
