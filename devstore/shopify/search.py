"""The search syntax of `query:` arguments, with the platform's three traps.

Which products a search finds, and which of its terms the platform silently leaves out."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from devstore.catalog.catalog import Catalog
from devstore.catalog.model import Product, ProductRow, Variant
from devstore.shopify.context import RequestContext, refused
from devstore.shopify.scalars import parse_epoch_seconds, parse_gid

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<word>AND|OR|NOT)(?=\s|$)
    | (?P<minus>-)?(?P<field>[A-Za-z_][\w.]*):(?P<op>>=|<=|>|<)?
      (?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<bare>[^\s:()"']*))
    | (?:"(?P<text_double>[^"]*)"|'(?P<text_single>[^']*)'|(?P<text>[^\s()"']+))
    | [()]
    )""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One condition."""

    field: str
    """"" for a word without a field."""
    op: str
    """"", >, >=, < or <=."""
    value: str
    negated: bool = False

    @property
    def lacks_value(self) -> bool:
        """`updated_at:>` and the like, which the platform answers with an internal error."""
        return bool(self.field) and not self.value


def parse_search(query: str) -> tuple[tuple[Term, ...], ...]:
    """Alternatives (OR) of terms that must all hold.

    An unquoted value ends at a colon, so an unquoted time is cut behind its hour and the rest becomes stray
    words, as on the platform. Parentheses are read over.
    """
    alternatives: list[tuple[Term, ...]] = []
    terms: list[Term] = []
    negated = False
    for match in _TOKEN.finditer(query.strip()):
        word = match["word"]
        if word == "OR":
            alternatives.append(tuple(terms))
            terms = []
        elif word == "NOT":
            negated = True
        elif not word and (term := _term(match, negated=negated)):
            terms.append(term)
            negated = False
    return (*alternatives, tuple(terms))


def _term(match: re.Match[str], *, negated: bool) -> Term | None:
    if match["field"]:
        value = match["double"] or match["single"] or match["bare"] or ""
        return Term(
            field=match["field"],
            op=match["op"] or "",
            value=value,
            negated=negated or bool(match["minus"]),
        )
    text = match["text_double"] or match["text_single"] or (match["text"] or "").strip(":")
    return Term(field="", op="", value=text, negated=negated) if text else None


SearchTarget = tuple[ProductRow, Variant | None, Catalog]
Test = Callable[[Any], bool]
_OPS: dict[str, Callable[[Any, Any], bool]] = {
    "": operator.eq, ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """How one search field is read from a product or variant, and its value from the query."""

    read: Callable[[Any], Any]
    value: Callable[[str], Any]
    """None when the text is no value of this field."""


def _product(found: SearchTarget) -> Product:
    product = found[2].product(found[0].id)
    assert product is not None
    return product


def _number(text: str) -> int | None:
    parsed = parse_gid(text)
    return parsed[1] if parsed else int(text) if text.isdecimal() else None


_PRODUCT_FIELDS = {
    "id": Field(read=lambda found: found[0].id, value=_number),
    "updated_at": Field(read=lambda found: found[0].updated, value=parse_epoch_seconds),
    "created_at": Field(read=lambda found: found[0].created, value=parse_epoch_seconds),
    "status": Field(read=lambda found: found[0].status.lower(), value=str.lower),
    "title": Field(read=lambda found: _product(found).title.lower(), value=str.lower),
    "handle": Field(read=lambda found: _product(found).handle, value=str.lower),
    "vendor": Field(read=lambda found: _product(found).vendor.lower(), value=str.lower),
    "product_type": Field(read=lambda found: _product(found).product_type.lower(), value=str.lower),
    "tag": Field(read=lambda found: [tag.lower() for tag in _product(found).tags], value=str.lower),
    "sku": Field(read=lambda found: [v.sku.lower() for v in _product(found).variants], value=str.lower),
}


def _variant(found: SearchTarget) -> Variant:
    assert found[1] is not None
    return found[1]


_VARIANT_FIELDS = {
    "id": Field(read=lambda found: _variant(found).id, value=_number),
    "product_id": Field(read=lambda found: found[0].id, value=_number),
    "updated_at": Field(read=lambda found: int(_variant(found).updated.timestamp()), value=parse_epoch_seconds),
    "sku": Field(read=lambda found: _variant(found).sku.lower(), value=str.lower),
    "barcode": Field(read=lambda found: _variant(found).barcode, value=str.lower),
    "product_status": Field(read=lambda found: found[0].status.lower(), value=str.lower),
}


def matcher(call: RequestContext, query: str | None, path: str) -> Test | None:
    """The test a row must pass, or None when all rows do.

    A field or value the platform does not know is left out of the search, so that all rows come back; only
    `extensions.search` of the reply tells.
    """
    return test_of(call, query, path, _VARIANT_FIELDS if path == "productVariants" else _PRODUCT_FIELDS)


def test_of(call: RequestContext, query: str | None, path: str, fields: Mapping[str, Field]) -> Test | None:
    """`matcher` with the fields of any list."""
    if not query or not query.strip():
        return None
    warnings: list[dict[str, str]] = []
    alternatives = [
        [test for term in terms if (test := _test(term, fields, warnings))] for terms in parse_search(query)
    ]
    if warnings:
        call.warnings.append({"path": [path], "query": query, "warnings": warnings})
    return _any_of(alternatives)


def _any_of(alternatives: Sequence[Sequence[Test]]) -> Test | None:
    if not all(alternatives):
        return None
    return lambda found: any(all(test(found) for test in tests) for tests in alternatives)


def _test(term: Term, fields: Mapping[str, Field], warnings: list[dict[str, str]]) -> Test | None:
    if term.lacks_value:
        raise refused("Internal error. Looks like something went wrong on our end.", "INTERNAL_SERVER_ERROR")
    field = fields.get(term.field)
    if field is None:
        name = term.field or term.value
        warnings.append(_warning(name, "Invalid search field for this query."))
        return None
    values = [field.value(text) for text in term.value.split(",")] if not term.op else [field.value(term.value)]
    if None in values:
        warnings.append(_warning(term.field, f"Input `{term.value}` is not a valid value."))
        return None
    return _comparison(field, _OPS[term.op], values, negated=term.negated)


def _comparison(field: Field, compare: Callable[[Any, Any], bool], values: list[Any], *, negated: bool) -> Test:
    def test(found: Any) -> bool:
        held = field.read(found)
        several = held if isinstance(held, list) else [held]
        return any(compare(one, value) for one in several for value in values) is not negated

    return test


def _warning(field: str, message: str) -> dict[str, str]:
    return {"field": field, "message": message, "code": "invalid_field"}
