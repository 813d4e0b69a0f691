"""The service config that clients give to gRPC: which methods gRPC itself calls again."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from catalogsync.catalog.v1 import analysis_service_pb2, catalog_service_pb2

SERVICES = (
    catalog_service_pb2.DESCRIPTOR.services_by_name["CatalogService"],
    analysis_service_pb2.DESCRIPTOR.services_by_name["AnalysisService"],
)
METHODS = {(service.full_name, method.name): method for service in SERVICES for method in service.methods}
IDEMPOTENT_ONLY_WITH_A_REQUEST_ID = {"StartSync", "ResumeSync"}


def configured() -> dict[tuple[str, str], dict[str, Any]]:
    """Return the config of each method, by service and name."""
    text = files("catalogsync").joinpath("service_config.json").read_text(encoding="utf-8")
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for group in json.loads(text)["methodConfig"]:
        for name in group["name"]:
            key = (name["service"], name["method"])
            assert key not in found
            found[key] = group
    return found


def test_the_services_have_no_method_of_the_same_name() -> None:
    """The client for Node finds a method by its name alone."""
    names = [name for _, name in METHODS]
    assert len(set(names)) == len(names)


def test_every_method_is_configured_and_has_a_timeout_unless_it_is_a_stream() -> None:
    config = configured()
    assert set(config) == set(METHODS)
    streams = {key for key, method in METHODS.items() if method.server_streaming}
    assert {name for name, group in config.items() if "timeout" not in group} == streams


def test_grpc_repeats_exactly_the_methods_that_are_idempotent_without_a_request_id() -> None:
    """A sync may end before the repeated call arrives, which would then start a second one."""
    with_request_id = {key for key, method in METHODS.items() if "request_id" in method.input_type.fields_by_name}
    assert {name for _, name in with_request_id} == IDEMPOTENT_ONLY_WITH_A_REQUEST_ID
    repeated = {key for key, group in configured().items() if "retryPolicy" in group}
    assert repeated == set(METHODS) - with_request_id
