"""`buf curl`, which pip installs, calls the services through gRPC reflection, without the stubs."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from tests.e2e.conftest import CATALOG, CONNECTOR, System, clean_environment

BUF = Path(sys.executable).with_name("buf")


async def buf_curl(address: str, *arguments: str) -> tuple[int, str, str]:
    """Run `buf curl` and return its exit code, standard output and standard error."""
    process = await asyncio.create_subprocess_exec(
        BUF,
        "curl",
        "--http2-prior-knowledge",
        "--protocol",
        "grpc",
        *arguments[:-1],
        f"http://{address}{arguments[-1]}",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=clean_environment(),
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_services_and_methods_are_listed(system: System) -> None:
    code, out, err = await buf_curl(system.catalog_address, "--list-methods", "/")
    assert code == 0, err
    listed = set(out.split())
    assert {f"{CATALOG}/StartSync", f"{CATALOG}/WatchSync", "grpc.health.v1.Health/Check"} <= listed
    code, out, _ = await buf_curl(system.connector_address, "--list-services", "/")
    assert (code, CONNECTOR in out.split()) == (0, True)


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_describes_a_message(system: System, version: str) -> None:
    request = json.dumps({"fileContainingSymbol": "catalogsync.catalog.v1.Sync"})
    code, out, err = await buf_curl(
        system.catalog_address,
        "--reflect-protocol",
        f"grpc-{version}",
        "-d",
        request,
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    )
    assert code == 0, err
    files = [
        FileDescriptorProto.FromString(base64.b64decode(raw))
        for raw in json.loads(out)["fileDescriptorResponse"]["fileDescriptorProto"]
    ]
    (sync,) = [m for file in files for m in file.message_type if m.name == "Sync"]
    assert {"sync_id", "state", "progress", "error"} <= {field.name for field in sync.field}


async def test_a_sync_is_started_and_watched_to_its_end(system: System) -> None:
    request = json.dumps({"shop": {"platform": "shopify", "domain": "demo.myshopify.com"}, "mode": "MODE_FULL"})
    code, out, err = await buf_curl(system.catalog_address, "-d", request, f"/{CATALOG}/StartSync")
    assert code == 0, err
    sync = json.loads(out)["sync"]
    assert sync["state"] == "STATE_PENDING"

    watch = json.dumps({"syncId": sync["syncId"]})
    code, out, err = await buf_curl(system.catalog_address, "-d", watch, f"/{CATALOG}/WatchSync")
    assert code == 0, err
    decoder, messages, rest = json.JSONDecoder(), [], out.strip()
    while rest:
        message, end = decoder.raw_decode(rest)
        messages.append(message)
        rest = rest[end:].strip()
    assert messages[-1]["sync"]["state"] == "STATE_SUCCEEDED"
    assert int(messages[-1]["sync"]["progress"]["items"]["seenCount"]) > 600


async def test_an_error_is_readable_without_decoding_details(system: System) -> None:
    request = json.dumps({"syncId": "00000000-0000-0000-0000-000000000000"})
    code, _, err = await buf_curl(system.catalog_address, "-d", request, f"/{CATALOG}/GetSync")
    assert code == 5 * 8  # buf exits with eight times the gRPC code
    assert "does not exist" in err
