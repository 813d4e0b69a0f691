"""Resources about the site: API index, currency, settings and system status."""

from __future__ import annotations

from typing import Any

from devstore.catalog.catalog import Catalog
from devstore.spec import WEIGHT_UNITS
from devstore.woocommerce.errors import invalid_setting
from devstore.woocommerce.json_fields import SITE_OFFSET_HOURS, SITE_ZONE_NAME, Json, links

_NAMESPACES = (
    "oembed/1.0", "wc/v3", "wc-admin", "wc-analytics", "wc/store", "wc/store/v1", "wc/v1", "wc/v2",
    "wc-telemetry", "wp/v2", "wp-site-health/v1", "wp-block-editor/v1",
)  # fmt: skip
_CURRENCIES = {
    "EUR": ("Euro", "&euro;"),
    "USD": ("United States (US) dollar", "&#36;"),
    "GBP": ("Pound sterling", "&pound;"),
    "CHF": ("Swiss franc", "&#67;&#72;&#70;"),
    "JPY": ("Japanese yen", "&yen;"),
    "KWD": ("Kuwaiti dinar", "&#x62f;.&#x643;"),
}
_FULL_VERSIONS = {"8.2": "8.2.2", "10.3": "10.3.5"}


def index(catalog: Catalog, site: str) -> Json:
    """Return /wp-json/, which needs no key."""
    login = {"authorization": f"{site}/wp-admin/authorize-application.php"}
    return {
        "name": catalog.spec.domain.partition(".")[0].replace("-", " ").title(),
        "description": "",
        "url": site,
        "home": site,
        "gmt_offset": SITE_OFFSET_HOURS,
        "timezone_string": SITE_ZONE_NAME,
        "namespaces": list(_NAMESPACES),
        "authentication": {"application-passwords": {"endpoints": login}},
        "routes": {},
        "_links": links(("help", "https://developer.wordpress.org/rest-api/")),
    }


def namespace(site: str) -> Json:
    """Return /wp-json/wc/v3, which needs no key."""
    return {"namespace": "wc/v3", "routes": {}, "_links": links(("up", f"{site}/wp-json/"))}


def currency(catalog: Catalog, site: str) -> Json:
    """Return /data/currencies/current; its `code` is the currency, not an error code."""
    code = catalog.spec.currency_code
    name, symbol = _CURRENCIES.get(code, (code, code))
    base = f"{site}/wp-json/wc/v3/data/currencies"
    rest_links = links(("self", f"{base}/{code}"), ("collection", base))
    return {"code": code, "name": name, "symbol": symbol, "_links": rest_links}


def setting(catalog: Catalog, site: str, group: str, name: str) -> Json:
    """Return /settings/<group>/<name>; only the currency and the weight unit exist."""
    match group, name:
        case "general", "woocommerce_currency":
            resource = _currency_setting(catalog)
        case "products", "woocommerce_weight_unit":
            resource = _weight_setting(catalog)
        case _:
            raise invalid_setting()
    base = f"{site}/wp-json/wc/v3/settings/{group}"
    return {
        "id": name,
        **resource,
        "group_id": group,
        "_links": links(("self", f"{base}/{name}"), ("collection", base)),
    }


def _currency_setting(catalog: Catalog) -> Json:
    description = (
        "This controls what currency prices are listed at in the catalog "
        "and which currency gateways will take payments in."
    )
    return {
        "label": "Currency",
        "description": description,
        "type": "select",
        "default": "USD",
        "options": {code: f"{title} ({symbol})" for code, (title, symbol) in _CURRENCIES.items()},
        "tip": description,
        "value": catalog.spec.currency_code,
    }


def _weight_setting(catalog: Catalog) -> Json:
    description = "This controls what unit you will define weights in."
    return {
        "label": "Weight unit",
        "description": description,
        "type": "select",
        "default": "kg",
        "options": {unit: unit for unit in WEIGHT_UNITS},
        "tip": description,
        "value": catalog.spec.weight_unit,
    }


def status(catalog: Catalog, site: str) -> Json:
    """Return /system_status without the parts that depend on the host."""
    return {
        "environment": {
            "home_url": site,
            "site_url": site,
            "version": _FULL_VERSIONS[catalog.spec.version],
            "wp_version": "6.4.1" if catalog.spec.version == "8.2" else "6.8.3",
            "php_version": "8.2.7",
        },
        "settings": {"api_enabled": False, "currency": catalog.spec.currency_code},
    }


def select_fields(resource: Any, names: frozenset[str] | None) -> Any:
    """Return only the named fields; unlike in products, a name may be a path such as `environment.version`."""
    if names is None or not isinstance(resource, dict):
        return resource
    picked: Json = {}
    for name in names:
        head, dot, rest = name.partition(".")
        if head not in resource:
            continue
        inner = select_fields(resource[head], frozenset({rest})) if dot else resource[head]
        merge = isinstance(inner, dict) and head in picked
        picked[head] = {**picked[head], **inner} if merge else inner
    return picked
