"""Reads credentials of shops from exports: CSV, JSON, or variables. No message contains a value of the export."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from catalogsync_client import ShopName
from catalogsync_common.host_names import canonical_host_name

WEBHOOK_SECRETS: Final = "webhook_secrets"
_KEYS: Final[Mapping[str, Sequence[frozenset[str]]]] = {
    "shopify": (frozenset({"access_token"}), frozenset({"client_id", "client_secret"})),
    "woocommerce": (frozenset({"consumer_key", "consumer_secret"}),),
    "bigcommerce": (frozenset({"access_token"}),),
    "feed": (frozenset({"feed_secret"}), frozenset({"feed_token"})),
}
"""The keys that each platform needs: all of one of the sets. connector_svc's platforms read them."""
_OPTIONAL_KEYS: Final = frozenset({WEBHOOK_SECRETS, "feed_secret_previous", "feed_path"})
_KNOWN_KEYS: Final = _OPTIONAL_KEYS.union(*(keys for sets in _KEYS.values() for keys in sets))
_DOMAIN_NAMES: Final = ("domain", "shop", "shop_domain", "store", "store_url", "url", "host")
"""Names of the column with the domain or the URL of a shop; the first one that an export has counts."""
_PLATFORM_NAMES: Final = ("platform", "platform_name", "type")
_MAX_WEBHOOK_SECRETS: Final = 2
_DOMAIN_SUFFIXES: Final = {"shopify": ".myshopify.com", "bigcommerce": ".mybigcommerce.com"}
_NOT_IN_NAME: Final = re.compile(r"[^a-z0-9]+")


class InputFormat(StrEnum):
    """The format of an export."""

    CSV = "csv"
    JSON = "json"
    ENV = "env"


class ExportInvalid(ValueError):
    """The export cannot be read, or a record is wrong. One line per problem, without values of the export."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShopCredentials:
    """The credentials of one shop."""

    shop: ShopName
    keys: Mapping[str, str | list[str]] = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Export:
    """The content of an export."""

    shops: Sequence[ShopCredentials]
    ignored_names: Sequence[str]
    """Columns that are no credentials."""


def read_export(text: str, input_format: InputFormat, *, renamed: Mapping[str, str]) -> Export:
    """Return the credentials in an export.

    Args:
        text: The export.
        input_format: Its format.
        renamed: Names of keys by the names that the export has for them.

    Raises:
        ExportInvalid: with a line per problem.
    """
    names = {_normalized(old): _normalized(new) for old, new in renamed.items()}
    records = [(where, _named(record, names)) for where, record in _READERS[input_format](text)]
    if not records:
        raise ExportInvalid("the export has no records")
    shops, problems = [], []
    for where, record in records:
        try:
            shops.append(_shop_credentials(record))
        except ValueError as error:
            problems.append(f"{where}: {error}")
    seen: set[ShopName] = set()
    for shop in (one.shop for one in shops):
        problems += [f"{shop}: there are two records of it"] if shop in seen else []
        seen.add(shop)
    if problems:
        raise ExportInvalid("\n".join(problems))
    used = {*_KNOWN_KEYS, *_DOMAIN_NAMES, *_PLATFORM_NAMES}
    return Export(shops=shops, ignored_names=sorted({name for _, record in records for name in record} - used))


def guess_format(path: Path) -> InputFormat | None:
    """Return the format that the name of a file says; None if it says none."""
    suffix = path.suffix.lower().removeprefix(".") or path.name.lower().removeprefix(".")
    return InputFormat(suffix) if suffix in tuple(InputFormat) else None


def _normalized(name: str) -> str:
    return _NOT_IN_NAME.sub("_", name.strip().lower()).strip("_")


def _named(record: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    found = {}
    for name, value in record.items():
        normalized = _normalized(name)
        if value not in (None, "", []):
            found[names.get(normalized, normalized)] = value
    return found


def _shop_credentials(record: Mapping[str, Any]) -> ShopCredentials:
    shop = ShopName(_platform(record), _domain(record))
    suffix = _DOMAIN_SUFFIXES.get(shop.platform, "")
    if not shop.domain.endswith(suffix):
        raise ValueError(f"the domain of a shop of {shop.platform} must end with {suffix}")
    keys = {name: _key(name, value) for name, value in record.items() if name in _KNOWN_KEYS}
    if not any(needed <= keys.keys() for needed in _KEYS[shop.platform]):
        wanted = " or ".join(" with ".join(sorted(needed)) for needed in _KEYS[shop.platform])
        raise ValueError(f"{shop} needs {wanted}")
    return ShopCredentials(shop=shop, keys=keys)


def _platform(record: Mapping[str, Any]) -> str:
    platform = next((str(record[name]).strip().lower() for name in _PLATFORM_NAMES if name in record), "")
    if platform not in _KEYS:
        raise ValueError(f"the platform is missing or unknown; known are {', '.join(_KEYS)}")
    return platform


def _domain(record: Mapping[str, Any]) -> str:
    text = next((str(record[name]).strip() for name in _DOMAIN_NAMES if name in record), "")
    host = urlsplit(text).hostname or "" if "://" in text else text.rstrip("/")
    domain = canonical_host_name(host)
    if domain is None:
        # The text is not shown: with shifted columns it may be a key.
        raise ValueError(f"the domain is missing or no host name; its column is named {_DOMAIN_NAMES[0]}")
    return domain


def _key(name: str, value: object) -> str | list[str]:
    if name == WEBHOOK_SECRETS:
        listed = re.split(r"[\s;,]+", value.strip()) if isinstance(value, str) else value
        if not isinstance(listed, list) or not 1 <= len(listed) <= _MAX_WEBHOOK_SECRETS:
            raise ValueError(f"{name} must be one secret, or {_MAX_WEBHOOK_SECRETS} during a rotation")
        return [_secret(name, one) for one in listed]
    return _secret(name, value)


def _secret(name: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name} must be a text")
    text = value.strip()
    if not text.isprintable():
        raise ValueError(f"{name} has a line break or a control character")
    return text


def _read_csv(text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    # By the file protocol, not by lines: a cell in quotes may have line breaks.
    reader = csv.DictReader(io.StringIO(text.lstrip("\ufeff"), newline=""))
    for number, row in enumerate(reader, 2):
        if None in row:
            raise ExportInvalid(f"row {number}: it has more cells than the header")
        yield f"row {number}", row


def _read_json(text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Read a list of objects, or an object of platforms with an object of domains, as the credentials file is."""
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise ExportInvalid(f"no JSON: line {error.lineno}, column {error.colno}") from None
    for where, record in _json_records(document):
        if not isinstance(record, dict):
            raise ExportInvalid(f"{where}: expected an object")
        nested = record.get("credentials")
        yield where, {**record, **(nested if isinstance(nested, dict) else {})}


def _json_records(document: object) -> Iterable[tuple[str, Any]]:
    match document:
        case [*records]:
            return [(f"record {number}", record) for number, record in enumerate(records, 1)]
        case {"shops": [*records]}:
            return _json_records(records)
        case dict():
            return [
                (f"{platform}, shop {number}", {"platform": platform, "domain": domain, **keys})
                if isinstance(keys, dict)
                else (f"{platform}, shop {number}", keys)
                for platform, shops in document.items()
                if isinstance(shops, dict)
                for number, (domain, keys) in enumerate(shops.items(), 1)
            ]
    raise ExportInvalid("expected a list of shops, or an object of platforms")


def _read_env(text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Read variables: SHOP1_PLATFORM, SHOP1_DOMAIN, SHOP1_ACCESS_TOKEN; the prefix joins those of a shop.

    The platform may also begin the prefix: SHOPIFY_1_DOMAIN.
    """
    variables: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip().removeprefix("export ").strip()
        if not stripped or stripped.startswith("#"):
            continue
        name, equals, value = stripped.partition("=")
        if not equals:
            raise ExportInvalid(f"line {number}: expected NAME=value")
        variables[name.strip().lower()] = _unquoted(value.strip())
    for prefix in sorted({name.removesuffix("domain") for name in variables if name.endswith("_domain")}):
        record = {name.removeprefix(prefix): value for name, value in variables.items() if name.startswith(prefix)}
        platform = next((platform for platform in _KEYS if prefix.startswith(platform)), "")
        yield f"{prefix.upper()}...", {"platform": platform, **record}


def _unquoted(value: str) -> str:
    is_quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1] if is_quoted else value


_READERS: Final = {InputFormat.CSV: _read_csv, InputFormat.JSON: _read_json, InputFormat.ENV: _read_env}
