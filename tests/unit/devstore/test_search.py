"""The search syntax, traps included."""

from __future__ import annotations

from devstore.shopify.search import Term, parse_search


def terms(query: str) -> list[tuple[str, str, str]]:
    return [(term.field, term.op, term.value) for term in parse_search(query)[0]]


def test_a_quoted_time_is_one_value() -> None:
    query = "updated_at:>='2026-11-20T10:00:00Z' AND status:active"
    assert terms(query) == [("updated_at", ">=", "2026-11-20T10:00:00Z"), ("status", "", "active")]


def test_an_unquoted_time_is_cut_behind_its_hour_and_the_rest_is_a_stray_word() -> None:
    assert terms("updated_at:<2000-01-01T00:00:00Z")[0] == ("updated_at", "<", "2000-01-01T00")
    assert [field for field, _, _ in terms("updated_at:<2000-01-01T00:00:00Z")] == ["updated_at", ""]


def test_alternatives_and_negations_are_understood() -> None:
    assert parse_search("status:draft OR NOT vendor:'A B'") == (
        (Term(field="status", op="", value="draft"),),
        (Term(field="vendor", op="", value="A B", negated=True),),
    )


def test_a_field_without_a_value_is_noticed() -> None:
    assert parse_search("updated_at:>")[0][0].lacks_value
