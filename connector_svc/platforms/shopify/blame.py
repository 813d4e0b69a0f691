"""Which record an error beside data is about."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from connector_svc.platforms.shopify.graphql_response import GraphqlError


@dataclass(kw_only=True, slots=True)
class Blame:
    """The errors that a reply carries for one record."""

    product: GraphqlError | None = None
    variants: dict[int, GraphqlError] = field(default_factory=dict)

    def add(self, error: GraphqlError, below: list[str | int]) -> None:
        """Notes `error`, whose path goes on from the product with `below`."""
        match below:
            case ["variants", "nodes", int(index), *_]:
                self.variants.setdefault(index, error)
            case _:
                self.product = self.product or error


def page_blames(errors: Iterable[GraphqlError]) -> dict[int, Blame]:
    """By the product's index on its page."""
    blames: dict[int, Blame] = {}
    for error in errors:
        match error.path:
            case ["products", "nodes", int(index), *below]:
                blames.setdefault(index, Blame()).add(error, below)
    return blames


def listed_blames(errors: Iterable[GraphqlError]) -> dict[int, Blame]:
    """By the index of the id that was asked for."""
    blames: dict[int, Blame] = {}
    for error in errors:
        match error.path:
            case ["nodes", int(index), *below]:
                blames.setdefault(index, Blame()).add(error, below)
    return blames


def single_blame(errors: Iterable[GraphqlError]) -> Blame | None:
    """Of the one product that was asked for; None: no error."""
    blame: Blame | None = None
    for error in errors:
        blame = blame or Blame()
        blame.add(error, list(error.path or ())[1:])
    return blame
