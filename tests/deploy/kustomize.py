"""Renders the overlays of deploy/kubernetes: `python -m tests.deploy.kustomize DIRECTORY` prints what is applied.

With `--compare` it compares that with what kustomize itself has rendered, on standard input.

kustomize is a Go program that neither PyPI nor npm has. This does the part of its work that our kustomizations
need, by the rules of its documentation, and refuses everything else, so that no overlay means more than what is
tested: resources, namespace, labels (not in selectors), images, and patches that are strategic merges.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

import yaml

Manifest = dict[str, Any]

_FIELDS: Final = {"apiVersion", "kind", "namespace", "labels", "resources", "patches", "images"}
_WITHOUT_NAMESPACE: Final = ("Namespace",)
_MERGE_KEYS: Final = {
    "containers": "name",
    "env": "name",
    "initContainers": "name",
    "ports": "containerPort",
    "topologySpreadConstraints": "topologyKey",
    "volumeMounts": "mountPath",
    "volumes": "name",
}
"""By field, the `patchMergeKey` of Kubernetes' API for lists that a patch merges by element."""
_REPLACED_LISTS: Final = ("accessModes", "args", "command", "drop", "items")
"""Lists that a patch replaces."""


class NotSupported(Exception):
    """A kustomization uses what this renderer does not know, or names what does not exist."""


def render(directory: Path) -> list[Manifest]:
    """Return the objects of the kustomization in a directory."""
    kustomization = _read_one(directory / "kustomization.yaml")
    if unknown := kustomization.keys() - _FIELDS:
        raise NotSupported(f"{directory}: {', '.join(sorted(unknown))}")
    objects = [each for name in kustomization["resources"] for each in _resource(directory / name)]
    for patch in kustomization.get("patches", ()):
        if patch.keys() != {"path"}:
            raise NotSupported(f"{directory}: a patch that is not only a path")
        _apply(_read_one(directory / patch["path"]), objects)
    for each in objects:
        _complete(each, kustomization)
    _refuse_duplicates(objects)
    return objects


def _resource(path: Path) -> list[Manifest]:
    return render(path) if path.is_dir() else read_manifests(path)


def read_manifests(path: Path) -> list[Manifest]:
    """Return the documents of a YAML file."""
    return [document for document in yaml.safe_load_all(path.read_text()) if document is not None]


def _read_one(path: Path) -> Manifest:
    documents = read_manifests(path)
    if len(documents) != 1:
        raise NotSupported(f"{path}: {len(documents)} documents")
    return documents[0]


def _identity(manifest: Manifest) -> tuple[str, str, str]:
    return manifest["apiVersion"], manifest["kind"], manifest["metadata"]["name"]


def _refuse_duplicates(objects: Sequence[Manifest]) -> None:
    names = [_identity(each) for each in objects]
    if duplicates := {name for name in names if names.count(name) > 1}:
        raise NotSupported(f"more than once: {duplicates}")


def _apply(patch: Manifest, objects: list[Manifest]) -> None:
    for index, each in enumerate(objects):
        if _identity(each) == _identity(patch):
            objects[index] = merged(each, patch)
            return
    raise NotSupported(f"a patch of {_identity(patch)}, which does not exist")


def merged(base: Manifest, patch: Mapping[str, Any]) -> Manifest:
    """Return the strategic merge of a patch: null removes a field, maps are merged, and some lists by a key."""
    result = deepcopy(base)
    for field, value in patch.items():
        if str(field).startswith("$"):
            raise NotSupported(f"the directive {field}")
        if value is None:
            result.pop(field, None)
        elif isinstance(value, dict) and isinstance(result.get(field), dict):
            result[field] = merged(result[field], value)
        elif isinstance(value, list) and field in result:
            result[field] = _merged_list(field, result[field], value)
        else:
            result[field] = deepcopy(value)
    return result


def _merged_list(field: str, base: Sequence[Any], patch: Sequence[Any]) -> list[Any]:
    if field in _REPLACED_LISTS:
        return list(deepcopy(patch))
    key = _MERGE_KEYS.get(field)
    if key is None:
        raise NotSupported(f"a patch of the list {field}")
    elements = {element[key]: element for element in base}
    for element in patch:
        known = elements.get(element[key])
        elements[element[key]] = deepcopy(element) if known is None else merged(known, element)
    return list(elements.values())


def _complete(manifest: Manifest, kustomization: Manifest) -> None:
    metadata = manifest["metadata"]
    if "namespace" in kustomization and manifest["kind"] not in _WITHOUT_NAMESPACE:
        metadata["namespace"] = kustomization["namespace"]
    for label in kustomization.get("labels", ()):
        if label.keys() != {"pairs"}:
            raise NotSupported("labels with more than pairs")
        metadata["labels"] = {**metadata.get("labels", {}), **label["pairs"]}
    for image in kustomization.get("images", ()):
        if image.keys() != {"name", "newName", "newTag"}:
            raise NotSupported("images without new name and tag, or with more")
        for container in containers_of(manifest):
            if container["image"].partition("@")[0].partition(":")[0] == image["name"]:
                container["image"] = f"{image['newName']}:{image['newTag']}"


def pod_of(manifest: Manifest) -> Manifest | None:
    """Return the pod template of a workload; None: the object is none."""
    template: Manifest | None = manifest.get("spec", {}).get("template")
    return template


def containers_of(manifest: Manifest) -> list[Manifest]:
    """Return the containers of a workload; other objects have none."""
    pod = pod_of(manifest)
    return [] if pod is None else [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]


def differences(ours: Sequence[Manifest], others: Sequence[Manifest]) -> list[str]:
    """Return the objects that two renderings differ in, whatever the order of objects and of lists with a key."""
    left, right = ({_identity(each): _ordered(each) for each in side} for side in (ours, others))
    return [" ".join(name) for name in sorted({*left, *right}) if left.get(name) != right.get(name)]


def _ordered(value: Any, field: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _ordered(each, key) for key, each in value.items()}
    if isinstance(value, list):
        key = _MERGE_KEYS.get(field)
        keyed = key is not None and all(isinstance(each, dict) and key in each for each in value)
        items = sorted(value, key=lambda each: str(each[key])) if keyed else value
        return [_ordered(each) for each in items]
    return value


def main(arguments: Sequence[str]) -> int:
    """Print the objects of an overlay, or compare them. Return the exit code."""
    rendered = render(Path(arguments[0]))
    if arguments[1:] != ["--compare"]:
        yaml.safe_dump_all(rendered, sys.stdout, sort_keys=False)
        return 0
    found = differences(rendered, [each for each in yaml.safe_load_all(sys.stdin) if each is not None])
    print(*(f"kustomize renders {each} differently" for each in found), sep="\n", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
