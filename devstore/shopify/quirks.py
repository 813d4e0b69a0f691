"""Quirks of a Shopify shop and switches of its bulk operations, which a test sets while the shop runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from random import Random

SCOPES = ("read_products", "read_inventory")


@dataclass(slots=True, kw_only=True)
class Quirks:
    """The quirks of one shop; with the defaults it behaves as most shops do."""

    scopes: tuple[str, ...] = SCOPES
    """The scopes granted to the app; a field that needs another one is denied."""
    served_version: str = ""
    """The version that answers whatever was requested, as after a version was retired; "": the requested one."""
    myshopify_domain: str = ""
    """Shop.myshopifyDomain; "": its domain. It differs after a shop was renamed."""
    currency_code: str = ""
    """The current currency of the shop; "": the currency of its spec."""
    nodes_charged_per_id: bool = False
    """Whether `nodes(ids:)` costs for each id what recorded replies cost for all ids together."""
    vanished: set[int] = field(default_factory=set)
    """Products that lists still show and `nodes(ids:)` answers with null, as while a deletion is propagated."""
    null_nodes: float = 0.0
    """The share of existing products that are answered with null when requested by id."""
    lost_rows: float = 0.0
    """The share of the rows that pages of products leave out although they are counted."""
    random: Random = field(default_factory=lambda: Random(7), repr=False)
    """Draws null nodes and lost rows."""
    unindexed: set[int] = field(default_factory=set)
    """Products that no search finds yet, since the search index lags; lists without a search show them."""
    cursors_expire: int = 0
    """The number of cursors that will be rejected as invalid."""
    inventory_has_own_scope: bool = False
    """Whether `inventoryItem` needs read_inventory, as before January 2025; otherwise read_products suffices."""
    other_app_spends: int = 0
    """Points that another client of the same app spends before each query."""
    totals_lag: bool = False
    """Whether `totalInventory` shows the stock before any change."""
    refuses_webhooks: str = ""
    """The message of the userError with which new webhook subscriptions are refused; "": they are accepted."""
    static_token_works: bool = True
    """Whether the token that never expires is accepted; otherwise only granted tokens are."""
    granted_token_lifetime: timedelta = timedelta(hours=24)
    """The lifetime of tokens that `/admin/oauth/access_token` grants from now on."""

    @property
    def is_nondeterministic(self) -> bool:
        """Whether the same request may get another reply the next time, so that replies must not be cached."""
        return bool(self.null_nodes or self.lost_rows or self.cursors_expire)


@dataclass(slots=True, kw_only=True)
class BulkSwitches:
    """Switches of bulk operations. A job copies them at its start; those of files apply to each download."""

    seconds: float = 0.5
    """The minimum duration of a job: a tenth of it CREATED, the rest RUNNING."""
    cancel_seconds: float = 0.0
    """The time that a cancelled job is CANCELING."""
    counts_lag: int = 0
    """The number of objects by which objectCount and rootObjectCount lag while a job runs."""
    stalls: bool = False
    """Whether jobs stay RUNNING at half of their objects forever."""
    fails: str = ""
    """The errorCode with which jobs fail after half of their rows; "": they do not fail."""
    adjacent: bool = False
    """Whether children directly follow their parents without groupObjects, too."""
    seed: int = 7
    """The seed of the order of rows."""
    nested_limit: int | None = None
    """The number of rows after which nested connections silently end; None: no limit."""
    loses_every: int = 0
    """Every n-th root object is silently missing with its children; 0: none."""
    refuses: str = ""
    """The userError code with which new jobs are rejected, such as LIMIT_REACHED; "": they are accepted."""
    files_url: str = ""
    """The origin of result URLs; "": the devstore, outside the shop's path."""
    cut_files: int = 0
    """The number of downloads that will be cut after half of the requested bytes."""
    short_files: bool = False
    """Whether results end within their last row, with a matching Content-Length."""
    whole_files: bool = False
    """Whether Range headers are ignored and the whole file is sent."""
