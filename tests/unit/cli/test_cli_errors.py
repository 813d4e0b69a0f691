"""Error lines: the message states the cause, the next step is a command, and neither repeats the other."""

from __future__ import annotations

from uuid import UUID

import pytest
from catalogsync_cli.errors import error_line
from catalogsync_common.failure import Failure
from catalogsync_common.status import STATUS_CODES, ReceivedFailure

from catalog_svc.domain.errors import RequestIdReused, ShopNotFound, SyncAlreadyRunning, SyncNotResumable
from catalog_svc.domain.shop import ShopKey

SHOP = ShopKey("shopify", "demo.myshopify.com")
SYNC_ID = UUID("01a225a7-d61c-77e2-ad50-6dfcdfdafb22")


def line(failure: Failure) -> str:
    received = ReceivedFailure(
        code=STATUS_CODES[failure.reason],
        message=failure.message,
        reason=failure.reason,
        metadata=failure.metadata,
    )
    return error_line(received)


@pytest.mark.parametrize(
    ("failure", "text"),
    [
        (
            ShopNotFound(SHOP),
            f"Error: shop {SHOP} is not registered [SHOP_NOT_FOUND]; "
            f"start its first sync: catalogsync sync start {SHOP}",
        ),
        (
            SyncAlreadyRunning(SHOP, SYNC_ID),
            f"Error: sync {SYNC_ID} of shop {SHOP} is active [SYNC_ALREADY_RUNNING]; "
            f"watch it: catalogsync sync watch {SYNC_ID}",
        ),
        (
            SyncNotResumable(SYNC_ID, "FAILED", "it stored nothing", shop=SHOP),
            f"Error: sync {SYNC_ID} cannot be resumed: it stored nothing [SYNC_NOT_RESUMABLE]; "
            f"start a new one: catalogsync sync start {SHOP}",
        ),
        (
            RequestIdReused("a"),
            "Error: request_id 'a' was used before with other parameters [REQUEST_ID_REUSED]; "
            "use another --request-id, or omit it",
        ),
    ],
)
def test_the_next_step_appears_once_with_all_arguments_filled_in(failure: Failure, text: str) -> None:
    assert line(failure) == text


def test_the_next_step_for_missing_credentials_names_the_settings() -> None:
    failure = ReceivedFailure(
        code=STATUS_CODES["CREDENTIALS_NOT_FOUND"], message="no credentials", reason="CREDENTIALS_NOT_FOUND"
    )
    assert "CONNECTOR_CREDENTIALS_FILE" in error_line(failure)
