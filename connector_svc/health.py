"""`python -m connector_svc.health` exits with 0 if the service of the same environment is SERVING, else 1."""

from __future__ import annotations

import sys

from catalogsync_common.health_probe import check_grpc_health, run_probe

from connector_svc.settings import ConnectorSettings

if __name__ == "__main__":
    # Without the options of platforms, which no probe needs: importing all platforms takes longer than the call.
    sys.exit(run_probe(ConnectorSettings, check_grpc_health))
