"""Health of a process of ours as a command, for probes of containers: its exit code says whether it takes calls.

A container image has neither curl nor a program that speaks gRPC. The command runs beside the process, with the
same environment, and finds the address in the same settings.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Final, TypeVar

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from catalogsync_common.process import EXIT_FAILED, EXIT_OK, EXIT_SETTINGS
from catalogsync_common.settings import (
    ListenAddress,
    ProcessSettings,
    ServiceSettings,
    SettingsError,
    load_settings,
    variable_name,
)

S = TypeVar("S", bound=ProcessSettings)

PROBE_TIMEOUT_SECONDS: Final = 5.0
_EVERY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
"""The address by which this machine reaches a server that listens on all of its addresses."""


class NotServing(Exception):
    """The process does not take calls; the message says what is known about it."""


def run_probe(settings_type: type[S], check: Callable[[S], None]) -> int:
    """Check the process that has the settings of this environment, print the result, and return the exit code.

    Args:
        settings_type: the settings of the process.
        check: raises NotServing, or SettingsError if the process cannot be probed.
    """
    try:
        check(load_settings(settings_type))
    except SettingsError as error:
        print(*error.lines, sep="\n", file=sys.stderr)
        return EXIT_SETTINGS
    except NotServing as error:
        print(error, file=sys.stderr)
        return EXIT_FAILED
    print("SERVING")
    return EXIT_OK


def check_grpc_health(settings: ServiceSettings) -> None:
    """Check the health of a gRPC service on its health port, or else on its main one.

    Raises:
        NotServing: it does not answer, or with another status than SERVING.
        SettingsError: the only port requires TLS, whose names and client certificates a probe does not have.
    """
    if settings.health_address is None and settings.tls_cert_file is not None:
        raise SettingsError(
            (f"{variable_name(type(settings), 'health_address')}: is missing: the main port requires TLS",)
        )
    address = probe_target(settings.health_address or settings.listen_address)
    with grpc.insecure_channel(address, options=(("grpc.enable_http_proxy", 0),)) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=PROBE_TIMEOUT_SECONDS)
        except grpc.RpcError as error:
            raise NotServing(f"{address} does not answer: {error.code().name}") from None
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        raise NotServing(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def probe_target(address: ListenAddress) -> str:
    """Return host and port by which this machine reaches a server that listens on `address`."""
    host = _EVERY_ADDRESS.get(address.host, address.host)
    return f"[{host}]:{address.port}" if ":" in host else f"{host}:{address.port}"
