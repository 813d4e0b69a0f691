"""The published JSON Schema: `python -m connector_svc.platforms.feed.schema > docs/custom-feed.schema.json`."""

from __future__ import annotations

import json
import sys
from typing import Any

import msgspec

from connector_svc.platforms.feed.wire import (
    DeltaFile,
    FeedFile,
    Manifest,
    ProductLine,
    SignedManifest,
    TombstoneLine,
)

_TYPES = (SignedManifest, Manifest, FeedFile, DeltaFile, ProductLine, TombstoneLine)


def json_schema() -> dict[str, Any]:
    """Definitions of the signed manifest, of the manifest inside it, and of the lines of a file."""
    _, definitions = msgspec.json.schema_components(_TYPES, ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "catalogsync-feed/1",
        "description": "SignedManifest is the file at the well-known address; Manifest is its text; "
        "ProductLine and TombstoneLine are the lines of an NDJSON file.",
        "anyOf": [{"$ref": f"#/$defs/{kind.__name__}"} for kind in _TYPES],
        "$defs": definitions,
    }


if __name__ == "__main__":
    json.dump(json_schema(), sys.stdout, indent=2)
    sys.stdout.write("\n")
