"""`python -m catalogsync_bff.health` exits with 0 if the BFF of the same environment is ready, else 1."""

from __future__ import annotations

import sys
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException

from catalogsync_common.health_probe import PROBE_TIMEOUT_SECONDS, NotServing, probe_target, run_probe

from catalogsync_bff.settings import BffSettings


def check_ready(settings: BffSettings) -> None:
    """Raise NotServing unless `/readyz` says that the BFF takes requests."""
    address = probe_target(settings.listen_address)
    connection = HTTPConnection(address, timeout=PROBE_TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/readyz")
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        raise NotServing(f"{address} does not answer: {type(error).__name__}") from None
    finally:
        connection.close()
    if status != HTTPStatus.OK:
        raise NotServing(f"/readyz answers {status}")


if __name__ == "__main__":
    sys.exit(run_probe(BffSettings, check_ready))
