"""The search syntax of `query:` arguments, with its traps, and which products and variants a search finds."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from devstore.catalog.catalog import Catalog
from devstore.catalog.model import Product, ProductRow, Variant
from devstore.shopify.context import RequestContext, client_error
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
    """One condition of a search."""

    field: str
    """The field; "" for a word without a field."""
    op: str
    """The operator: "", >, >=, < or <=."""
    value: str
    negated: bool = False

    @property
    def lacks_value(self) -> bool:
        """Whether the value is missing, as in `updated_at:>`; the platform answers with an internal error."""
        return bool(self.field) and not self.value


def parse_search(query: str) -> tuple[tuple[Term, ...], ...]:
    """Parse a search into alternatives (OR), each with terms that must all hold.

    As on the platform, an unquoted value ends at a colon: an unquoted time is cut after its hour, and the rest
    becomes terms without a field. Parentheses are ignored.
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
Predicate = Callable[[Any], bool]
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "": operator.eq, ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchField:
    """How a search field is read from a product or variant, and how its value in the query is parsed."""

    read: Callable[[Any], Any]
    parse: Callable[[str], Any]
    """Returns None when the text is invalid for this field."""


def _product(found: SearchTarget) -> Product:
    product = found[2].product(found[0].id)
    assert product is not None
    return product


def _parse_id(text: str) -> int | None:
    parsed = parse_gid(text)
    return parsed[1] if parsed else int(text) if text.isdecimal() else None


_PRODUCT_FIELDS = {
    "id": SearchField(read=lambda found: found[0].id, parse=_parse_id),
    "updated_at": SearchField(read=lambda found: found[0].updated, parse=parse_epoch_seconds),
    "created_at": SearchField(read=lambda found: found[0].created, parse=parse_epoch_seconds),
    "status": SearchField(read=lambda found: found[0].status.lower(), parse=str.lower),
    "title": SearchField(read=lambda found: _product(found).title.lower(), parse=str.lower),
    "handle": SearchField(read=lambda found: _product(found).handle, parse=str.lower),
    "vendor": SearchField(read=lambda found: _product(found).vendor.lower(), parse=str.lower),
    "product_type": SearchField(read=lambda found: _product(found).product_type.lower(), parse=str.lower),
    "tag": SearchField(read=lambda found: [tag.lower() for tag in _product(found).tags], parse=str.lower),
    "sku": SearchField(read=lambda found: [v.sku.lower() for v in _product(found).variants], parse=str.lower),
}


def _variant(found: SearchTarget) -> Variant:
    assert found[1] is not None
    return found[1]


_VARIANT_FIELDS = {
    "id": SearchField(read=lambda found: _variant(found).id, parse=_parse_id),
    "product_id": SearchField(read=lambda found: found[0].id, parse=_parse_id),
    "updated_at": SearchField(
        read=lambda found: int(_variant(found).updated.timestamp()), parse=parse_epoch_seconds
    ),
    "sku": SearchField(read=lambda found: _variant(found).sku.lower(), parse=str.lower),
    "barcode": SearchField(read=lambda found: _variant(found).barcode, parse=str.lower),
    "product_status": SearchField(read=lambda found: found[0].status.lower(), parse=str.lower),
}


def search_predicate(context: RequestContext, query: str | None, path: str) -> Predicate | None:
    """Return the predicate of a search; None when all rows match.

    A term with an unknown field or an invalid value is ignored, so that a search for it alone matches all rows;
    only the warnings in `extensions.search` of the reply show it.

    Args:
        context: The request; warnings are added to it.
        query: The search.
        path: The name of the list in warnings: "products" or "productVariants".
    """
    return search_predicate_of(
        context, query, path, _VARIANT_FIELDS if path == "productVariants" else _PRODUCT_FIELDS
    )


def search_predicate_of(
    context: RequestContext, query: str | None, path: str, fields: Mapping[str, SearchField]
) -> Predicate | None:
    """Return the predicate of a search in a list with these fields; see `search_predicate`."""
    if not query or not query.strip():
        return None
    warnings: list[dict[str, str]] = []
    alternatives = [
        [predicate for term in terms if (predicate := _term_predicate(term, fields, warnings))]
        for terms in parse_search(query)
    ]
    if warnings:
        context.warnings.append({"path": [path], "query": query, "warnings": warnings})
    return _any_of(alternatives)


def _any_of(alternatives: Sequence[Sequence[Predicate]]) -> Predicate | None:
    if not all(alternatives):
        return None
    return lambda found: any(all(predicate(found) for predicate in terms) for terms in alternatives)


def _term_predicate(
    term: Term, fields: Mapping[str, SearchField], warnings: list[dict[str, str]]
) -> Predicate | None:
    if term.lacks_value:
        raise client_error("Internal error. Looks like something went wrong on our end.", "INTERNAL_SERVER_ERROR")
    field = fields.get(term.field)
    if field is None:
        name = term.field or term.value
        warnings.append(_warning(name, "Invalid search field for this query."))
        return None
    values = [field.parse(text) for text in term.value.split(",")] if not term.op else [field.parse(term.value)]
    if None in values:
        warnings.append(_warning(term.field, f"Input `{term.value}` is not a valid value."))
        return None
    return _comparison(field, _OPERATORS[term.op], values, negated=term.negated)


def _comparison(
    field: SearchField, compare: Callable[[Any, Any], bool], values: list[Any], *, negated: bool
) -> Predicate:
    def predicate(found: Any) -> bool:
        actual = field.read(found)
        candidates = actual if isinstance(actual, list) else [actual]
        return any(compare(one, value) for one in candidates for value in values) is not negated

    return predicate


def _warning(field: str, message: str) -> dict[str, str]:
    return {"field": field, "message": message, "code": "invalid_field"}
