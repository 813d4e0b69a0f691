"""Publishes a catalog as a feed for catalogsync: `python publish.py --domain shop.example --out public`.

Requires only Python. Replace `read_products` by a query of your own database; the rest can stay as it is.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import hmac
import json
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
VALID_FOR = timedelta(hours=48)
MIN_SECRET_LENGTH = 32


def read_products() -> Iterator[dict[str, Any]]:
    """Yield every product with all its variants."""
    with (HERE / "products.ndjson").open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def write_full(folder: Path) -> dict[str, Any]:
    """Write the full file, named after the hash of its content, and return its entry for the manifest."""
    products = items = 0
    part = folder / "full.part"
    with part.open("wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", mtime=0) as packed:
        for product in read_products():
            packed.write(json.dumps(product, ensure_ascii=False).encode() + b"\n")
            products += 1
            items += len(product["variants"])
    with part.open("rb") as raw:
        digest = hashlib.file_digest(raw, "sha256").hexdigest()
    # New content gets a new name, so that readers of the old file can finish.
    file = part.rename(folder / f"full-{digest[:16]}.ndjson.gz")
    return {
        "path": f"/feeds/{file.name}",
        "format": "ndjson",
        "compression": "gzip",
        "bytes": file.stat().st_size,
        "sha256": digest,
        "row_count": products,
        "product_count": products,
        "item_count": items,
    }


def signed(manifest: dict[str, Any], secrets: list[str]) -> dict[str, Any]:
    """Return the manifest's text with one signature per secret."""
    text = json.dumps(manifest)
    signatures = [hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest() for secret in secrets]
    return {"manifest": text, "signatures": signatures}


def publish(out: Path, domain: str, currency: str, secrets: list[str]) -> Path:
    """Write the full file and then, atomically, the manifest; return the manifest's path."""
    generated_at = datetime.now(UTC)  # before the first product is read: later changes belong to the next run
    folder = out / "feeds"
    folder.mkdir(parents=True, exist_ok=True)
    manifest = {
        "format": "catalogsync-feed/1",
        "domain": domain,
        "currency": currency,
        "generated_at": generated_at.isoformat(),
        "valid_until": (generated_at + VALID_FOR).isoformat(),
        "full": write_full(folder),
    }
    target = out / ".well-known" / "catalogsync-feed.json"
    target.parent.mkdir(exist_ok=True)
    part = target.with_suffix(".part")
    part.write_text(json.dumps(signed(manifest, secrets)), encoding="utf-8")
    return part.replace(target)


def main() -> int:
    """Publish the feed and return the exit code: 2 if a secret is missing or too short."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--domain", required=True)
    parser.add_argument("--currency", default="EUR")
    parser.add_argument("--out", type=Path, default=HERE / "public")
    arguments = parser.parse_args()
    # Two secrets, separated by a comma, while one replaces the other.
    secrets = [secret for secret in os.environ.get("FEED_SECRET", "").split(",") if secret]
    if not secrets or any(len(secret) < MIN_SECRET_LENGTH for secret in secrets):
        print(f"FEED_SECRET must have at least {MIN_SECRET_LENGTH} characters", file=sys.stderr)
        return 2
    print(publish(arguments.out, arguments.domain, arguments.currency, secrets))
    return 0


if __name__ == "__main__":
    sys.exit(main())
