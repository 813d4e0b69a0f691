"""`python -m catalog_svc.health` exits with 0 if the service of the same environment is SERVING, else 1."""

from __future__ import annotations

import sys

from catalogsync_common.health_probe import check_grpc_health, run_probe

from catalog_svc.settings import CatalogSettings

if __name__ == "__main__":
    sys.exit(run_probe(CatalogSettings, check_grpc_health))
