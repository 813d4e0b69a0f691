"""Which calls count for which limit, and what their callers are told."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pytest
from catalogsync_common.call_limits import CallLimiter, CallLimits, RateLimited, ShopLimit, peer_address
from catalogsync_common.principal import SYSTEM, Principal, PrincipalKind, acting_as
from catalogsync_common.rate_limiter import RateLimit
from catalogsync_common.status import RETRY_DELAYS, to_status

ONE = RateLimit(per_second=0.5, burst=1)
SHOP = Principal(kind=PrincipalKind.CLIENT, name="demo.myshopify.com")
OTHER_SHOP = Principal(kind=PrincipalKind.CLIENT, name="other.myshopify.com")
BFF = Principal(kind=PrincipalKind.SERVICE, name="bff")
OPERATOR = Principal(kind=PrincipalKind.OPERATOR, name="ada")


def limiter(**limits: Any) -> CallLimiter:
    return CallLimiter(CallLimits(**limits), monotonic=lambda: 1000.0)


def call_as(limits: CallLimiter, principal: Principal, method: str = "/s/A") -> None:
    with acting_as(principal):
        limits.check_principal(method)


@pytest.mark.parametrize(("principal", "kind"), [(SHOP, "client"), (BFF, "service"), (OPERATOR, "operator")])
def test_a_principal_above_its_rate_learns_the_limit_and_when_to_come_again(
    principal: Principal, kind: str
) -> None:
    limits = limiter(clients=ONE, services=ONE)
    call_as(limits, principal)
    with pytest.raises(RateLimited) as refused:
        call_as(limits, principal)
    failure = refused.value
    assert failure.reason == "RATE_LIMITED"
    assert failure.reason in RETRY_DELAYS
    assert failure.metadata == {"limit_kind": kind, "limit": "0.5/s, 1 at once"}
    assert failure.retry_after == timedelta(seconds=2)
    assert to_status(failure).message.startswith("RATE_LIMITED: The caller has made too many calls")


def test_principals_and_method_groups_have_rates_of_their_own() -> None:
    limits = limiter(clients=ONE, groups={"/s/A": "read", "/s/B": "read", "/s/C": "sync"})
    call_as(limits, SHOP, "/s/A")
    call_as(limits, SHOP, "/s/C")
    call_as(limits, OTHER_SHOP, "/s/A")
    with pytest.raises(RateLimited):
        call_as(limits, SHOP, "/s/B")


def test_clients_and_services_have_different_limits() -> None:
    limits = limiter(clients=ONE)
    for _ in range(5):
        call_as(limits, BFF)
        call_as(limits, OPERATOR)


def test_health_checks_and_calls_without_a_principal_have_no_rate() -> None:
    limits = limiter(clients=ONE, services=ONE)
    for _ in range(5):
        call_as(limits, SHOP, "/grpc.health.v1.Health/Check")
        call_as(limits, SYSTEM)


def test_a_shop_has_a_rate_for_each_of_the_limited_methods() -> None:
    shops = ShopLimit(methods={"/s/Start": ONE, "/s/Resume": ONE}, shop_of=lambda request: request)
    limits = limiter(shops=shops)
    limits.check_shop("/s/Start", "a")
    limits.check_shop("/s/Start", "b")
    limits.check_shop("/s/Resume", "a")
    for _ in range(5):
        limits.check_shop("/s/Read", "a")
        limits.check_shop("/s/Start", None)
    with pytest.raises(RateLimited) as refused:
        limits.check_shop("/s/Start", "a")
    assert refused.value.kind == "shop"


def test_an_address_with_too_many_wrong_tokens_is_refused_before_the_next_is_verified() -> None:
    limits = limiter(peer_failures=RateLimit(per_second=1, burst=3))
    for port in range(3):
        limits.check_peer(f"ipv4:10.0.0.1:{port}")
        limits.count_peer_failure(f"ipv4:10.0.0.1:{port}")
    with pytest.raises(RateLimited) as refused:
        limits.check_peer("ipv4:10.0.0.1:99")
    assert refused.value.kind == "peer"
    limits.check_peer("ipv4:10.0.0.2:99")


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:10.0.0.1:5000", "10.0.0.1"),
        ("ipv6:%5B2001:db8:1:2:3:4:5:6%5D:5000", "2001:0db8:0001:0002"),
        ("ipv6:[2001:db8:1:2:ffff::1]:5000", "2001:0db8:0001:0002"),
        ("ipv6:%5B::ffff:10.0.0.1%5D:5000", "10.0.0.1"),
        ("ipv6:%5Bfe80::1%25eth0%5D:5000", "fe80:0000:0000:0000"),
        ("unix:/run/catalog.sock", "unix:/run/catalog.sock"),
        ("", ""),
    ],
)
def test_the_port_of_a_peer_does_not_count_nor_its_place_in_its_ipv6_network(peer: str, address: str) -> None:
    assert peer_address(peer) == address


def test_a_client_may_use_only_its_part_of_the_concurrent_calls() -> None:
    limits = limiter(concurrent_calls=3, concurrent_client_calls=2)
    with ExitStack() as calls:
        with acting_as(SHOP):
            for _ in range(2):
                calls.enter_context(limits.slot("/s/A")).acquire()
            with pytest.raises(RateLimited) as refused, limits.slot("/s/A") as slot:
                slot.acquire()
            assert refused.value.kind == "client_concurrent"
        with acting_as(BFF):
            calls.enter_context(limits.slot("/s/A")).acquire()
            with pytest.raises(RateLimited) as refused, limits.slot("/s/A") as slot:
                slot.acquire()
            assert refused.value.kind == "server"
        with limits.slot("/grpc.health.v1.Health/Check") as slot:
            slot.acquire()
        assert limits.running == 3
    assert limits.running == 0
    assert not limits._running, "a client without calls needs no memory"


def test_health_checks_have_a_maximum_of_their_own() -> None:
    limits = limiter(health_calls=2, concurrent_calls=1)
    method = "/grpc.health.v1.Health/Check"
    with ExitStack() as calls:
        for _ in range(2):
            calls.enter_context(limits.slot(method)).acquire()
        with pytest.raises(RateLimited) as refused, limits.slot(method) as slot:
            slot.acquire()
        assert refused.value.kind == "health"
        calls.enter_context(limits.slot("/s/A")).acquire()
    assert CallLimits(concurrent_calls=7).hard_limit > 7 + CallLimits().health_calls


def test_a_call_that_the_server_refuses_takes_no_place_of_its_client() -> None:
    limits = limiter(concurrent_calls=1, concurrent_client_calls=1)
    with ExitStack() as calls:
        with acting_as(BFF):
            calls.enter_context(limits.slot("/s/A")).acquire()
        with acting_as(SHOP):
            for _ in range(3):
                with pytest.raises(RateLimited) as refused, limits.slot("/s/A") as slot:
                    slot.acquire()
                assert refused.value.kind == "server"
