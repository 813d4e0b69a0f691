"""A server with access control refuses calls before they are handled, and ends streams with their token."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import grpc
import pytest
from catalogsync_common.auth.access_rules import AccessRule, AccessRules
from catalogsync_common.auth.call_access import CallAccess
from catalogsync_common.auth.failures import PermissionDenied
from catalogsync_common.auth.secret_keys import HmacKeys, ServiceSecrets
from catalogsync_common.auth.tokens import ClientTokenPolicy, TokenKeys, TokenVerifier
from catalogsync_common.principal import Principal, PrincipalKind, current_principal
from catalogsync_common.status import read_failure
from catalogsync_common.token_minting import SigningKey, mint_client_token, mint_operator_token
from google.protobuf.wrappers_pb2 import StringValue
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.integration.common.conftest import SERVICE, Handlers, LogLines, Serve
from tests.waiting import TIMEOUT_SECONDS, forever, within_timeout

KINDS = ["unary_unary", "unary_stream", "stream_unary", "stream_stream"]
SECRET = f"tester:{'s3cr3t' * 8}"
OPERATOR_KEY = SigningKey(kid="o1", key="k" * 32)
CLIENT_KEY = SigningKey(kid="c1", key="c" * 32)
EVERYBODY = tuple(kind for kind in PrincipalKind if kind is not PrincipalKind.SYSTEM)


class ForeignShop(PermissionDenied):
    """What `OneShop` raises."""

    reason = "SHOP_NOT_FOUND"


class OneShop:
    """A `ShopAccess` under which "mine" is the only shop of every client."""

    async def check(self, principal: Principal, request: Any, shop_field: str) -> None:
        if getattr(request, shop_field) != "mine":
            raise ForeignShop("no such shop")


def access(**rule: Any) -> CallAccess:
    """Return access control whose rule for all methods of the test service has these fields."""
    each = AccessRule(**{"principals": EVERYBODY, "shop_field": "value", **rule})
    keys = TokenKeys(
        client_hmac=HmacKeys([(CLIENT_KEY.kid, CLIENT_KEY.key)]),
        operator=HmacKeys([(OPERATOR_KEY.kid, OPERATOR_KEY.key)]),
    )
    return CallAccess(
        AccessRules({f"/{SERVICE}/{kind}": each for kind in KINDS}),
        secrets=ServiceSecrets.parse(SECRET),
        tokens=TokenVerifier(keys, ClientTokenPolicy(audience="catalogsync", issuer="bff")),
        shops=OneShop(),
    )


def token(**options: Any) -> tuple[tuple[str, str], ...]:
    minted = mint_client_token(CLIENT_KEY, issuer="bff", domain="a.example", scopes=["catalog:read"], **options)
    return (("authorization", f"Bearer {minted}"),)


def counting(calls: list[str]) -> Handlers:
    """Return handlers of all kinds that record who called."""

    async def unary(request: Any, context: Any) -> StringValue:
        calls.append(current_principal().id)
        return StringValue(value=current_principal().id)

    async def stream(request: Any, context: Any) -> AsyncIterator[StringValue]:
        calls.append(current_principal().id)
        yield StringValue(value=current_principal().id)

    return Handlers(unary_unary=unary, stream_unary=unary, unary_stream=stream, stream_stream=stream)


@pytest.mark.parametrize("kind", KINDS)
async def test_no_handler_runs_without_credentials(kind: str, serve: Serve) -> None:
    calls: list[str] = []
    async with serve(counting(calls), access=access()) as running:
        received = await read_failure(await running.error(kind))
    assert (received.code, received.reason, calls) == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED", [])


@pytest.mark.parametrize("service", ["grpc.reflection.v1alpha.ServerReflection", f"{SERVICE}"])
async def test_a_bidirectional_call_is_refused_although_its_client_sends_nothing(
    service: str, serve: Serve
) -> None:
    """A unary refusal would wait for the first message, and an unauthenticated client would hold a place."""
    method = "ServerReflectionInfo" if "reflection" in service else "stream_stream"
    async with serve(counting([]), access=access()) as running:
        open_call: Any = running.channel.stream_stream(f"/{service}/{method}")
        call = open_call()
        assert await within_timeout(call.code()) is grpc.StatusCode.UNAUTHENTICATED


async def test_every_kind_of_principal_is_known_to_its_handler(serve: Serve, logged: LogLines) -> None:
    calls: list[str] = []
    operator = mint_operator_token(OPERATOR_KEY, "alice", scopes=[])
    async with serve(counting(calls), access=access()) as running:
        await running.call("unary_unary", "mine", metadata=token())
        await running.call("unary_unary", metadata=(("x-service-secret", SECRET),))
        await running.call("unary_stream", metadata=(("authorization", f"bearer {operator}"),))
    assert calls == ["client:a.example", "service:tester", "operator:alice"]
    lines = [line for line in logged.all if line["logger"] == "catalogsync_common.access_log"]
    assert [line["principal"] for line in lines] == calls
    assert SECRET.partition(":")[2] not in logged.text
    assert operator not in logged.text


async def test_kind_scope_and_shop_are_checked(serve: Serve) -> None:
    async def reason_with(metadata: Any, request: str = "mine", **rule: Any) -> str:
        async with serve(counting([]), access=access(**rule)) as running:
            return (await read_failure(await running.error("unary_unary", request, metadata=metadata))).reason

    services_only = (PrincipalKind.SERVICE,)
    assert await reason_with(token(), principals=services_only) == "PERMISSION_DENIED"
    assert await reason_with(token(), scope="catalog:sync") == "PERMISSION_DENIED"
    assert await reason_with(token(), "somebody else's") == "SHOP_NOT_FOUND"


async def test_a_method_without_a_rule_is_closed(serve: Serve) -> None:
    calls: list[str] = []
    closed = CallAccess(AccessRules({}), secrets=ServiceSecrets.parse(SECRET))
    async with serve(counting(calls), access=closed) as running:
        received = await read_failure(await running.error("unary_unary", metadata=(("x-service-secret", SECRET),)))
    assert (received.reason, calls) == ("PERMISSION_DENIED", [])


@pytest.mark.parametrize(
    "metadata",
    [
        (("x-service-secret", SECRET), ("x-service-secret", SECRET)),
        (("authorization", "Basic dGVzdA=="),),
        (("authorization", "Bearer"),),
        (("authorization", "Bearer "),),
        (("authorization", f"Bearer {SECRET}"),),
        (("x-service-secret", SECRET.partition(":")[2]),),
        (("x-service-secret", "tester:"),),
        (("x-service-secret", f"other:{SECRET.partition(':')[2]}"),),
        (("x-service-secret-bin", SECRET.encode()),),
    ],
    ids=str,
)
async def test_odd_credentials_are_refused(metadata: Any, serve: Serve) -> None:
    async with serve(counting([]), access=access()) as running:
        received = await read_failure(await running.error("unary_unary", "mine", metadata=metadata))
    assert received.reason == "UNAUTHENTICATED"
    assert SECRET.partition(":")[2] not in received.message


async def test_health_checks_need_no_credentials_and_reflection_does(serve: Serve) -> None:
    async with serve(counting([]), access=access()) as running:
        health = health_pb2_grpc.HealthStub(running.channel)
        checked = await health.Check(health_pb2.HealthCheckRequest())
        assert checked.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.aio.AioRpcError) as listed:
            await health.List(health_pb2.HealthListRequest())
        assert listed.value.code() is grpc.StatusCode.UNAUTHENTICATED
        reflection = reflection_pb2_grpc.ServerReflectionStub(running.channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        reflected = reflection.ServerReflectionInfo(iter([request]), metadata=(("x-service-secret", SECRET),))
        assert (await within_timeout(reflected.read())).list_services_response.service
        reflected.cancel()
        refused = reflection.ServerReflectionInfo(iter([request]), metadata=token())
        assert await within_timeout(refused.code()) is grpc.StatusCode.PERMISSION_DENIED


async def test_a_stream_ends_when_its_token_expires(serve: Serve) -> None:
    closed = asyncio.Event()

    async def endless(request: Any, context: Any) -> AsyncIterator[StringValue]:
        try:
            yield StringValue(value="first")
            await forever()
        finally:
            closed.set()

    async with serve(Handlers(unary_stream=endless), access=access()) as running:
        metadata = token(lifetime=timedelta(seconds=4))
        received = await read_failure(await running.error("unary_stream", "mine", metadata=metadata))
        assert (received.code, received.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED")
        assert running.received == ["first"]
        await within_timeout(closed.wait())
        again = await read_failure(await running.error("unary_stream", "mine", metadata=metadata))
        assert again.reason == "TOKEN_EXPIRED"


async def test_a_stream_whose_client_reads_nothing_ends_with_its_token(serve: Serve) -> None:
    closed = asyncio.Event()

    async def flood(request: Any, context: Any) -> AsyncIterator[StringValue]:
        try:
            while True:
                yield StringValue(value="x" * 100_000)
        finally:
            closed.set()

    async with serve(Handlers(unary_stream=flood), access=access()) as running:
        metadata = token(lifetime=timedelta(seconds=4))
        call = running.open("unary_stream", "mine", metadata=metadata, timeout=TIMEOUT_SECONDS)
        await within_timeout(closed.wait())
        call.cancel()
