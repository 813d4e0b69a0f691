"""dlt (PyPI) with its rest_api source: WooCommerce products and their variations into PostgreSQL.

Runs in .venv-bench. `default` is a pipeline as dlt's documentation shows it: products, and the variations of each
variable product as a dependent resource, merged by primary key. `tuned` reads the same with four connections and
only the fields that our connector reads, writes nested values as JSON instead of tables of their own, normalizes
in two processes and loads CSV by COPY. Both list the variable products of the store once more, which costs one
call in a hundred and saves a call for each simple product.
"""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import dlt
from dlt.destinations import postgres
from dlt.sources.rest_api import rest_api_source

from bench.peers.job import PRODUCT_FIELDS, VARIATION_FIELDS, Job, listing_params, run

_TUNED = {
    "EXTRACT__WORKERS": "4",
    "EXTRACT__MAX_PARALLEL_ITEMS": "40",
    # Poll interval for answers; at 0.01 s four connections would be idle with a store that answers at once.
    "EXTRACT__FUTURES_POLL_INTERVAL": "0.001",
    "NORMALIZE__WORKERS": "2",
    "NORMALIZE__START_METHOD": "fork",
    # Rows per file; normalizing and loading process files in parallel.
    "DATA_WRITER__FILE_MAX_ITEMS": "10000",
    "LOAD__WORKERS": "4",
}


def _source(job: Job, *, tuned: bool) -> Any:
    def resource(name: str, path: str, *, fields: str, product_type: str = "") -> dict[str, Any]:
        return {
            "name": name,
            "endpoint": {"path": path, "params": listing_params(fields=fields, product_type=product_type)},
        }

    products = resource("products", "products", fields=PRODUCT_FIELDS if tuned else "")
    parents = resource("variable_products", "products", fields="id", product_type="variable")
    path = "products/{resources.variable_products.id}/variations"
    variations = resource("variations", path, fields=VARIATION_FIELDS if tuned else "")
    return rest_api_source(
        {
            "client": {
                "base_url": f"{job.base_url}/wp-json/wc/v3/",
                "auth": {
                    "type": "http_basic",
                    "username": job.credentials["consumer_key"],
                    "password": job.credentials["consumer_secret"],
                },
                "paginator": "header_link",
            },
            "resource_defaults": {"primary_key": "id", "write_disposition": "merge"},
            "resources": [
                products,
                {**parents, "selected": False},
                {**variations, "include_from_parent": ["id"], "parallelized": tuned},
            ],
        },
        **({"max_table_nesting": 0} if tuned else {}),
    )


def _destination(database_url: str) -> Any:
    url = urlsplit(database_url)
    # libpq accepts a socket directory as host if it is URL-encoded.
    host = url.hostname or quote(parse_qs(url.query)["host"][0], safe="")
    return postgres(f"postgresql://{url.username}:none@{host}:{url.port or 5432}{url.path}")


def _load(job: Job) -> None:
    tuned = job.options["tuning"] == "tuned"
    pipeline = dlt.pipeline(
        "bench", destination=_destination(job.database_url), dataset_name="woo", pipelines_dir=job.directory
    )
    pipeline.run(_source(job, tuned=tuned), **({"loader_file_format": "csv"} if tuned else {}))


def main() -> None:
    """Load the shop of the job."""
    job = Job.read()
    os.environ |= {
        "REQUESTS_CA_BUNDLE": job.ca_file,
        "RUNTIME__DLTHUB_TELEMETRY": "false",
        "RUNTIME__LOG_LEVEL": "ERROR",
    }
    if job.options["tuning"] == "tuned":
        os.environ |= _TUNED
    run(lambda: _load(job))


if __name__ == "__main__":
    main()
