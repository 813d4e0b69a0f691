"""What a test may change about a Shopify shop while it runs.

How a shop's bulk operations behave; change it while the store runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from random import Random

SCOPES = ("read_products", "read_inventory")


@dataclass(slots=True, kw_only=True)
class Quirks:
    """The switches of one shop; as they stand at first, the shop behaves as most do."""

    scopes: tuple[str, ...] = SCOPES
    """What the app was granted; a field that needs another one is refused."""
    served_version: str = ""
    """Answers as this version, whatever was asked for, as Shopify does once the asked one has retired."""
    myshopify_domain: str = ""
    """What the shop calls itself; empty: its domain. Another one after a shop was renamed."""
    currency_code: str = ""
    """What the shop's prices are in from now on; empty: the currency that it began with."""
    nodes_charged_per_id: bool = False
    """`nodes(ids:)` costs as much for each id as recorded replies show for all together."""
    vanished: set[int] = field(default_factory=set)
    """Products that lists still show and `nodes(ids:)` answers with null: a deletion takes effect bit by bit."""
    null_nodes: float = 0.0
    """The share of the products asked for by id that are answered with null though they are there."""
    lost_rows: float = 0.0
    """The share of the rows that pages of products leave out though the count has them."""
    dice: Random = field(default_factory=lambda: Random(7), repr=False)
    """Draws null nodes and lost rows."""
    unindexed: set[int] = field(default_factory=set)
    """Products that no search finds yet, since its index lags behind; lists without a search show them."""
    cursors_expire: int = 0
    """The next so many cursors are refused as invalid."""
    inventory_has_own_scope: bool = False
    """`inventoryItem` needs read_inventory, as before January 2025; off: read_products is enough."""
    other_app_spends: int = 0
    """Points that somebody else with the same token spends just before each of our queries."""
    totals_lag: bool = False
    """`totalInventory` still shows what there was before any change."""
    static_token_works: bool = True
    """Whether the token that never expires opens the shop; off: only tokens that were granted."""
    granted_token_lifetime: timedelta = timedelta(hours=24)
    """How long a token works that `/admin/oauth/access_token` hands out from now on."""

    @property
    def is_nondeterministic(self) -> bool:
        """Whether the same question may be answered otherwise the next time."""
        return bool(self.null_nodes or self.lost_rows or self.cursors_expire)


@dataclass(slots=True, kw_only=True)
class BulkSwitches:
    """What is set when a job starts holds for the job; what is said of files holds for the next download."""

    seconds: float = 0.5
    """A job takes at least so long; a tenth of it CREATED, the rest RUNNING."""
    cancel_seconds: float = 0.0
    """How long a cancelled job stays CANCELING."""
    counts_lag: int = 0
    """By how many objects objectCount and rootObjectCount stay behind while a job runs."""
    stalls: bool = False
    """The job stays RUNNING at half of its objects, for ever."""
    fails: str = ""
    """The errorCode with which jobs end as FAILED after half of their rows; "" for none."""
    adjacent: bool = False
    """Children right behind their parents, although nobody asked for groupObjects."""
    seed: int = 7
    """Of the order of rows."""
    nested_limit: int | None = None
    """Nested connections silently end after so many rows."""
    loses_every: int = 0
    """Every n-th root object is silently missing, with its children; 0: none."""
    refuses: str = ""
    """The userError code with which new jobs are refused: LIMIT_REACHED and the like; "" for none."""
    files_url: str = ""
    """Where result URLs point; "" means this store, beside the shop's own path."""
    cut_files: int = 0
    """The next so many downloads break off after half of what was asked for."""
    short_files: bool = False
    """Results end in the middle of their last row, and HTTP says that this is all."""
    whole_files: bool = False
    """Range requests are answered with the whole file."""
