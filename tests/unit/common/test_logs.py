"""Logs: one line per record, the fields of a line, and redaction of secrets."""

from __future__ import annotations

import io
import json
import logging
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from catalogsync_common.call_context import correlated
from catalogsync_common.logs import ClientDisconnectFilter, JsonFormatter, TextFormatter, configure_logging, redact

CANARIES = {
    "shopify_token": "shpat_canary0123456789abcdef",
    "shopify_secret": "shpss_canaryfedcba987654321",
    "shopify_app": "shpca_canary5555",
    "woo_key": "ck_canary0000111122223333",
    "woo_secret": "cs_canary4444555566667777",
    "bearer": "canaryOpaqueBearer42",
    "jwt": "eyJjYW5hcnkiOjF9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJlY2FuYXJ5",
    "dsn": "canary-p@ss-w0rd",
    "keyword": "canaryHunter2",
}

LEAKS = [
    "token {shopify_token} refused",
    "{shopify_secret},{shopify_app}",
    "auth=({woo_key}, {woo_secret})",
    "GET https://store.example/wp-json/wc/v3/products?consumer_key={keyword}&consumer_secret={keyword}&page=2",
    "GET https://{woo_key}:{woo_secret}@store.example/",
    "Authorization: Bearer {bearer}",
    "authorization={bearer}",
    "got {jwt} from the BFF",
    "cannot connect to postgresql+asyncpg://catalog:{dsn}@db.internal:5432/catalog",
    "host=db user=catalog password={keyword} dbname=catalog",
    "password='{keyword} {keyword}'",
    '{{"access_token": "{keyword}", "scope": "read"}}',
    '"{{\\"access_token\\": \\"{keyword}\\"}}"',
    "{{'X-Shopify-Access-Token': '{keyword}'}}",
    "api_key: {keyword}",
    "Set-Cookie: {keyword}",
]


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture(params=["json", "text"])
def logger(request: pytest.FixtureRequest, stream: io.StringIO) -> logging.Logger:
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter("catalog_svc") if request.param == "json" else TextFormatter())
    logger = logging.Logger("test.logger")
    logger.addHandler(handler)
    return logger


def raising(text: str) -> None:
    try:
        raise RuntimeError(text)
    except RuntimeError as inner:
        raise ValueError(f"after {text}") from inner


def assert_no_canary(output: str) -> None:
    assert output.strip()
    assert [name for name, canary in CANARIES.items() if canary in output] == []
    assert "anary" not in output


@pytest.mark.parametrize("template", LEAKS)
def test_no_secret_is_logged_in_any_part_of_a_record(
    template: str, logger: logging.Logger, stream: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    text = template.format(**CANARIES)
    logger.warning(text.replace("%", "%%"))
    logger.warning("it said %s", text)
    logger.warning("it said %r", {"reply": [text]})
    logger.warning("extra", extra={"reply": text, "nested": {"list": [text, (text,)], text: 1}})
    try:
        raising(text)
    except ValueError:
        logger.exception("broken by %s", text)
    logger.warning("does not fit %d", text)
    logger.warning("stack", stack_info=True, extra={"object": RuntimeError(text)})
    assert_no_canary(stream.getvalue())
    assert "does not fit %d (invalid arguments)" in stream.getvalue()
    # Where logging itself writes records that it cannot format.
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "key",
    ["password", "token", "access_token", "consumer_secret", "api_key", "X-Shopify-Access-Token", "authorization"],
)
def test_values_of_secret_keys_are_redacted(key: str, logger: logging.Logger, stream: io.StringIO) -> None:
    logger.warning("extra", extra={key: "canary", "headers": {key: ["canary"]}})
    assert_no_canary(stream.getvalue())


@pytest.mark.parametrize(
    "text",
    [
        "listening on 127.0.0.1:50051",
        "shop shopify:demo.myshopify.com sync 0192f0c1 revision 7",
        "GET https://store.example:8443/wp-json/wc/v3/products?page=2&orderby=id",
        "product back_ck_1 has 3 basics in stock",
        "Basic T-Shirt, 3 tokens left",
    ],
)
def test_text_without_secrets_is_unchanged(text: str, logger: logging.Logger, stream: io.StringIO) -> None:
    logger.warning(text)
    assert text in stream.getvalue()


def test_a_megabyte_without_a_break_is_searched_in_linear_time() -> None:
    """A search that restarts at each character takes hours; then the suite's time limit fails this test."""
    word = "a-" * 500_000
    assert redact(f"{word} token={'b' * 500_000}") == f"{word} token=***"


def json_line(log: Any, *args: object, **kwargs: Any) -> dict[str, Any]:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter("catalog_svc"))
    logger = logging.Logger("test.logger")
    logger.addHandler(handler)
    getattr(logger, log)(*args, **kwargs)
    (line,) = stream.getvalue().splitlines()
    parsed: dict[str, Any] = json.loads(line)
    return parsed


def test_a_json_line_has_time_level_logger_service_message_and_correlation_id() -> None:
    with correlated("corr-1"):
        line = json_line("info", "stored %d", 7, extra={"shop": "demo", "rate": 1.5, "done": True})
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "INFO",
        "logger": "test.logger",
        "service": "catalog_svc",
        "message": "stored 7",
        "correlation_id": "corr-1",
        "shop": "demo",
        "rate": 1.5,
        "done": True,
    }


def test_an_extra_field_cannot_replace_a_standard_field() -> None:
    line = json_line("info", "hello", extra={"level": "FATAL", "service": "x", "time": "never"})
    assert (line["level"], line["service"], line["level_"]) == ("INFO", "catalog_svc", "FATAL")


def test_line_breaks_and_control_characters_cannot_forge_a_line(
    logger: logging.Logger, stream: io.StringIO
) -> None:
    forged = 'x\r\n{"level": "INFO"}\x1b[2J\u2028end'
    logger.info("got %s", forged, extra={"value": forged})
    assert len(stream.getvalue().splitlines()) == 1 or "\u2028" in stream.getvalue()
    assert stream.getvalue().count("\n") == 1
    assert "\x1b" not in stream.getvalue()
    assert "\r" not in stream.getvalue()


def test_a_traceback_is_in_the_line_of_its_record() -> None:
    try:
        raising("no secret")
    except ValueError as error:
        line = json_line("error", "broken", exc_info=error)
    assert "RuntimeError: no secret" in line["exception"]
    assert "ValueError: after no secret" in line["exception"]


def test_only_grpc_errors_about_disconnected_clients_are_dropped() -> None:
    disconnect_filter = ClientDisconnectFilter()
    noise = logging.makeLogRecord({"msg": "ExecuteBatchError raised in core by servicer method [/t.T/S]"})
    fault = logging.makeLogRecord({"msg": "Unexpected [ValueError] raised by servicer method [/t.T/S]"})
    assert not disconnect_filter.filter(noise)
    assert disconnect_filter.filter(fault)


@pytest.fixture
def _logging_restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


@pytest.mark.usefixtures("_logging_restored")
def test_configure_logging_sends_all_loggers_and_warnings_to_stderr(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO())
    configure_logging("WARNING", "connector_svc")
    configure_logging("WARNING", "connector_svc")
    logging.getLogger("a.b").info("quiet")
    logging.getLogger("a.b").warning("loud")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("look out", stacklevel=1)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["logger"] for line in lines] == ["a.b", "py.warnings"]
    assert {line["service"] for line in lines} == {"connector_svc"}


@pytest.mark.usefixtures("_logging_restored")
def test_text_format_is_one_readable_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO())
    configure_logging("info", "connector_svc", log_format="text")
    logging.getLogger("a.b").info("loud", extra={"shop": "demo"})
    assert stream.getvalue().endswith("INFO    a.b loud shop=demo\n")
