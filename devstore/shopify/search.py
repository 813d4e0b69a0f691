"""The search syntax of `query:` arguments, with the platform's three traps."""

from __future__ import annotations

import re
from dataclasses import dataclass

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
