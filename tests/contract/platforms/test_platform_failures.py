"""How platforms handle a shop that does not answer as it should."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from connector_svc.domain.errors import (
    SourceFailure,
    SourceNotFound,
    SourceRateLimited,
    SourceRedirected,
    SourceResponseInvalid,
    SourceUnauthorized,
    SourceUnreachable,
)
from connector_svc.domain.fetch import WaitReason
from tests.contract.platforms.harness import PlatformHarness
from tests.contract.platforms.passes import Pass, fetch
from tests.contract.platforms.test_platform_resume import contents

Misbehave = Callable[[PlatformHarness], None]

PAGE = "<!doctype html><html><title>Checking your browser</title></html>"

CASES: dict[str, tuple[Misbehave, type[SourceFailure]]] = {
    "401": (lambda shop: shop.answer(401, '{"errors": "no"}'), SourceUnauthorized),
    "404": (lambda shop: shop.answer(404, '{"errors": "Not Found"}'), SourceNotFound),
    "a web page with status 200": (
        lambda shop: shop.answer(200, PAGE, content_type="text/html"),
        SourceResponseInvalid,
    ),
    "a web page that says it is JSON": (lambda shop: shop.answer(200, PAGE), SourceResponseInvalid),
    "nothing with status 200": (lambda shop: shop.answer(200, ""), SourceResponseInvalid),
    "no answer": (lambda shop: shop.hang_up(), SourceUnreachable),
    "503 forever": (lambda shop: shop.answer(503, PAGE, content_type="text/html"), SourceUnreachable),
    "429 forever": (lambda shop: shop.answer(429, ""), SourceRateLimited),
    "a redirect": (
        lambda shop: shop.answer(301, "", headers={"Location": "https://www.example/"}),
        SourceRedirected,
    ),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[Misbehave, type[SourceFailure]]:
    return CASES[request.param]


async def check(source: PlatformHarness) -> None:
    await source.platform.check(source.shop)


async def fetch_all(source: PlatformHarness) -> None:
    await fetch(source)


@pytest.mark.parametrize("ask", [check, fetch_all])
async def test_each_failure_has_its_class_and_a_readable_message(
    empty: PlatformHarness,
    case: tuple[Misbehave, type[SourceFailure]],
    ask: Callable[[PlatformHarness], Awaitable[None]],
) -> None:
    misbehave, expected = case
    misbehave(empty)
    with pytest.raises(expected) as caught:
        await ask(empty)
    assert_readable(empty, caught.value)


async def test_a_pass_can_be_completed_after_a_failure_in_the_middle(
    ordinary: PlatformHarness, case: tuple[Misbehave, type[SourceFailure]]
) -> None:
    misbehave, expected = case
    whole = await fetch(ordinary, batch=10)
    first = await fetch(ordinary, batch=10, batches=2)
    misbehave(ordinary)
    with pytest.raises(expected) as caught:
        await fetch(ordinary, batch=10, checkpoint=first.batches[-1].checkpoint)
    assert_readable(ordinary, caught.value)
    ordinary.recover()
    rest = await fetch(ordinary, batch=10, checkpoint=first.batches[-1].checkpoint)
    assert contents(first, rest) == contents(whole)
    assert rest.end == whole.end


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_a_temporarily_busy_shop_is_waited_for(ordinary: PlatformHarness, status: int) -> None:
    whole = await fetch(ordinary)
    ordinary.answer(status, "", times=2, headers={"Retry-After": "1"})
    found = await fetch(ordinary)
    assert contents(found) == contents(whole)
    reason = WaitReason.THROTTLED if status == 429 else WaitReason.SOURCE_UNREACHABLE
    assert reason in {wait.reason for wait in found.waits}


async def test_truncated_replies_never_become_a_shorter_catalog(source: PlatformHarness) -> None:
    """Status 200 and half of the JSON: a pass either completes with everything, or fails."""
    whole = await fetch(source)
    for truncations in (1, 3):
        source.truncate_replies(truncations)
        try:
            found: Pass | None = await fetch(source)
        except (SourceResponseInvalid, SourceUnreachable):
            found = None
        source.recover()
        assert found is None or contents(found) == contents(whole)


def assert_readable(source: PlatformHarness, failure: SourceFailure) -> None:
    texts = [str(failure), repr(failure), repr(dict(failure.metadata)), repr(failure.args)]
    assert not [secret for secret in source.secrets for text in texts if secret in text]
    assert str(source.shop) in failure.message
    assert "Checking your browser" not in failure.message
    assert failure.metadata["domain"] == source.shop.domain
