"""Logging to stderr, one line per record, as JSON or text, with secrets redacted.

Redaction is the last line of defence: code should not log secrets in the first place.
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
from catalogsync_common.tracing import log_fields

LOGGER: Final = logging.getLogger(__name__)

LogFormat = Literal["auto", "json", "text"]

_STANDARD_FIELDS: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


def configure_logging(level: str, service: str, *, log_format: LogFormat = "auto") -> None:
    """Make all loggers of the process write to stderr, replacing any earlier configuration. Log warnings too.

    Args:
        level: the lowest level that is logged.
        service: the name of the service, a field of each JSON line.
        log_format: "auto" is text on a terminal and JSON elsewhere.
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
    if not any(isinstance(known, ClientDisconnectFilter) for known in grpc_logger.filters):
        grpc_logger.addFilter(ClientDisconnectFilter())


_LEVELS: Final = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR)


def change_log_level(*, more: bool) -> None:
    """Log one level more, or one level less, until the next change or the end of the process; and log that."""
    root = logging.getLogger()
    old = root.level
    wanted = [level for level in _LEVELS if (level < old if more else level > old)]
    new = (wanted[-1] if more else wanted[0]) if wanted else old
    # At whichever level is logged before or after the change.
    root.setLevel(min(old, new))
    LOGGER.log(max(logging.INFO, min(old, new)), "the log level is %s", logging.getLevelName(new))
    root.setLevel(new)


class ClientDisconnectFilter(logging.Filter):
    """Drops the errors that gRPC logs when a client disconnects during a write, or when a stop ends a call.

    Both are normal events that are in the access log already.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, asyncio.CancelledError) or type(error).__name__ == "ExecuteBatchError":
            return False
        return not str(record.msg).startswith("ExecuteBatchError raised in core")


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON.

    Its fields: time (UTC, RFC 3339), level, logger, service, message, correlation_id, trace_id and span_id, the
    record's extra fields, and the exception with its traceback. Line breaks are escaped.
    """

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, object] = {
            "time": _format_time(record),
            "level": record.levelname,
            "logger": record.name,
            "service": self._service,
            "message": redact(_format_message(record)),
            "correlation_id": correlation_id.get(),
            **log_fields(),
        }
        fields |= {
            key if key not in fields or key == "correlation_id" else f"{key}_": value
            for key, value in _extra_fields(record).items()
        }
        if trace := _format_exception(self, record):
            fields["exception"] = trace
        return json.dumps({key: value for key, value in fields.items() if value != ""}, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """Formats a record as one readable line, followed by the indented lines of a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        extra = {"correlation_id": correlation_id.get(), **log_fields(), **_extra_fields(record)}
        parts = [_format_time(record), f"{record.levelname:<7}", record.name, redact(_format_message(record))]
        parts += [f"{key}={value}" for key, value in extra.items() if value != ""]
        line = _escape(" ".join(parts))
        trace = _format_exception(self, record)
        return "\n  | ".join((line, *map(_escape, trace.splitlines())))


def _format_time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _format_message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:
        # Otherwise logging prints the arguments to stderr unredacted.
        return f"{record.msg} (invalid arguments)"


def _extra_fields(record: logging.LogRecord) -> dict[str, object]:
    return {key: redact_item(key, value) for key, value in record.__dict__.items() if key not in _STANDARD_FIELDS}


def _format_exception(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    trace = formatter.formatException(record.exc_info) if record.exc_info and record.exc_info[1] else ""
    if record.stack_info:
        trace = f"{trace}\n{record.stack_info}".strip()
    return redact(trace)


def _escape(text: str) -> str:
    """Return the text with control characters escaped: input from others must not look like a log line of ours."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


REDACTED: Final = "***"

_MAX_DEPTH: Final = 6
"""Nesting up to which structure is kept; a deeper value becomes its text."""

_SECRET_KEY: Final = (
    r"(?:[\w.-]*(?:secret|token|passw(?:or)?d|passwd|pwd|api[_-]?key|access[_-]?key|private[_-]?key"
    r"|consumer[_-]?key|authorization|cookie|credentials?))"
)
_IS_SECRET_KEY: Final = re.compile(_SECRET_KEY, re.IGNORECASE)

_PATTERNS: Final = (
    # user:password@ in a URL or DSN; greedy, since a password may contain an unescaped "@".
    (re.compile(r"(://[^\s:/@]*:)[^\s/]+(?=@)"), rf"\g<1>{REDACTED}"),
    (re.compile(r"\b(Bearer)\s+[A-Za-z0-9._~+/=-]{6,}", re.IGNORECASE), rf"\g<1> {REDACTED}"),
    (re.compile(r"\b(Basic)\s+[A-Za-z0-9+/]{16,}=*", re.IGNORECASE), rf"\g<1> {REDACTED}"),
    # JSON Web Tokens.
    (re.compile(r"\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?"), REDACTED),
    # Shopify's tokens and secrets, WooCommerce's keys.
    (re.compile(r"(?:(?<![A-Za-z0-9])shp[a-z]{2}|(?<![A-Za-z0-9_])c[ks])_[A-Za-z0-9_-]+"), REDACTED),
    # key=value, key: value, "key": "value", 'key': 'value', \"key\": \"value\" escaped any number of times.
    (
        re.compile(
            rf"""(?<![\w.-])({_SECRET_KEY}\\*["']?\s*[=:]\s*)"""
            r"""(?:(?P<quote>\\*["']).*?(?<!\\)(?P=quote)|\\*["']\S*|(?!\*\*\*)[^\s,;&"'<>)}\]\\]+)""",
            re.IGNORECASE,
        ),
        rf"\g<1>{REDACTED}",
    ),
)


def redact(text: str) -> str:
    """Return the text with everything that looks like a secret replaced by ***."""
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def is_secret_key(key: str) -> bool:
    """Return whether the value of such a key is a secret."""
    return _IS_SECRET_KEY.fullmatch(key) is not None


def redact_value(value: object, depth: int = 0) -> object:
    """Return the value as JSON can represent it, without secrets; a value that is not JSON becomes its text."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if depth < _MAX_DEPTH and isinstance(value, Mapping):
        return {redact(str(key)): redact_item(str(key), item, depth + 1) for key, item in value.items()}
    if depth < _MAX_DEPTH and isinstance(value, list | tuple | set | frozenset):
        return [redact_value(item, depth + 1) for item in value]
    return redact(str(value))


def redact_item(key: str, value: object, depth: int = 0) -> object:
    """Return the value as it may be logged under `key`: redacted if the key names a secret."""
    return REDACTED if is_secret_key(key) and value is not None else redact_value(value, depth)
