"""Logs: one line per record on stderr, JSON for machines or text for people, never with a secret.

Secrets in texts that are about to be logged.

The last line of defence: secrets should not get near a log in the first place.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, Literal

from catalogsync_common.call_context import correlation_id

LogFormat = Literal["auto", "json", "text"]

_STANDARD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


def configure_logging(level: str, service: str, *, log_format: LogFormat = "auto") -> None:
    """Makes all loggers of the process write to stderr from `level` on; replaces what was configured before.

    "auto" means text on a terminal and JSON elsewhere. Warnings are logged too.
    """
    handler = logging.StreamHandler(sys.stderr)
    text = log_format == "text" or (log_format == "auto" and sys.stderr.isatty())
    handler.setFormatter(TextFormatter() if text else JsonFormatter(service))
    root = logging.getLogger()
    for old in tuple(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    logging.captureWarnings(True)
    grpc_logger = logging.getLogger("grpc._cython.cygrpc")
    if not any(isinstance(known, ClientGoneFilter) for known in grpc_logger.filters):
        grpc_logger.addFilter(ClientGoneFilter())


class ClientGoneFilter(logging.Filter):
    """Drops what gRPC logs as an error when a client leaves during a write, or when a stop ends a call.

    Both are everyday events that the call's own line tells already.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, asyncio.CancelledError) or type(error).__name__ == "ExecuteBatchError":
            return False
        return not str(record.msg).startswith("ExecuteBatchError raised in core")


class JsonFormatter(logging.Formatter):
    """time (UTC, RFC 3339), level, logger, service, message, correlation_id, the record's extra fields, and the
    exception with its traceback. Line breaks are escaped."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, object] = {
            "time": _time_of(record),
            "level": record.levelname,
            "logger": record.name,
            "service": self._service,
            "message": redact(_message_of(record)),
            "correlation_id": correlation_id.get(),
        }
        fields |= {
            key if key not in fields or key == "correlation_id" else f"{key}_": value
            for key, value in _extra_of(record).items()
        }
        if trace := _exception_of(self, record):
            fields["exception"] = trace
        return json.dumps({key: value for key, value in fields.items() if value != ""}, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """One readable line per record; the lines of a traceback follow, indented."""

    def format(self, record: logging.LogRecord) -> str:
        extra = {"correlation_id": correlation_id.get(), **_extra_of(record)}
        parts = [_time_of(record), f"{record.levelname:<7}", record.name, redact(_message_of(record))]
        parts += [f"{key}={value}" for key, value in extra.items() if value != ""]
        line = _escaped(" ".join(parts))
        trace = _exception_of(self, record)
        return "\n  | ".join((line, *map(_escaped, trace.splitlines())))


def _time_of(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _message_of(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:
        # Left to logging, this prints the arguments to stderr as they are.
        return f"{record.msg} (its arguments do not fit)"


def _extra_of(record: logging.LogRecord) -> dict[str, object]:
    return {key: redact_item(key, value) for key, value in record.__dict__.items() if key not in _STANDARD}


def _exception_of(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    trace = formatter.formatException(record.exc_info) if record.exc_info and record.exc_info[1] else ""
    if record.stack_info:
        trace = f"{trace}\n{record.stack_info}".strip()
    return redact(trace)


def _escaped(text: str) -> str:
    """Without control characters: what others send must not look like a line of ours."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


HIDDEN: Final = "***"

_MAX_DEPTH: Final = 6

_SECRET_KEY: Final = (
    r"(?:[\w.-]*(?:secret|token|passw(?:or)?d|passwd|pwd|api[_-]?key|access[_-]?key|private[_-]?key"
    r"|consumer[_-]?key|authorization|cookie|credentials?))"
)
_IS_SECRET_KEY: Final = re.compile(_SECRET_KEY, re.IGNORECASE)

_PATTERNS: Final = (
    # user:password@ of a URL or DSN; greedy, for a password may hold an unescaped "@".
    (re.compile(r"(://[^\s:/@]*:)[^\s/]+(?=@)"), rf"\g<1>{HIDDEN}"),
    (re.compile(r"\b(Bearer)\s+[A-Za-z0-9._~+/=-]{6,}", re.IGNORECASE), rf"\g<1> {HIDDEN}"),
    (re.compile(r"\b(Basic)\s+[A-Za-z0-9+/]{16,}=*", re.IGNORECASE), rf"\g<1> {HIDDEN}"),
    # JSON Web Tokens.
    (re.compile(r"\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?"), HIDDEN),
    # Shopify's tokens and secrets, WooCommerce's keys.
    (re.compile(r"(?:(?<![A-Za-z0-9])shp[a-z]{2}|(?<![A-Za-z0-9_])c[ks])_[A-Za-z0-9_-]+"), HIDDEN),
    # key=value, key: value, "key": "value", 'key': 'value', \"key\": \"value\" escaped any number of times.
    (
        re.compile(
            rf"""(?<![\w.-])({_SECRET_KEY}\\*["']?\s*[=:]\s*)"""
            r"""(?:(?P<quote>\\*["']).*?(?<!\\)(?P=quote)|\\*["']\S*|(?!\*\*\*)[^\s,;&"'<>)}\]\\]+)""",
            re.IGNORECASE,
        ),
        rf"\g<1>{HIDDEN}",
    ),
)


def redact(text: str) -> str:
    """`text` with everything that looks like a secret replaced by ***."""
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def is_secret_key(key: str) -> bool:
    """Whether the value under such a name is a secret."""
    return _IS_SECRET_KEY.fullmatch(key) is not None


def redact_value(value: object, depth: int = 0) -> object:
    """`value` as JSON can hold it, without secrets; whatever is not JSON becomes its text."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if depth < _MAX_DEPTH and isinstance(value, Mapping):
        return {redact(str(key)): redact_item(str(key), item, depth + 1) for key, item in value.items()}
    if depth < _MAX_DEPTH and isinstance(value, list | tuple | set | frozenset):
        return [redact_value(item, depth + 1) for item in value]
    return redact(str(value))


def redact_item(key: str, value: object, depth: int = 0) -> object:
    """`value` as it may be logged under `key`."""
    return HIDDEN if is_secret_key(key) and value is not None else redact_value(value, depth)
