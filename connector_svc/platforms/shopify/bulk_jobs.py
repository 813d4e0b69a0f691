"""Shopify's bulk operations: start one, look at it, end it.

What we ask of Shopify about bulk operations, and the query that runs in one.

The query asks for what a page asks for, by the rules of bulk: edges and node, the id of every parent, at most five
connections (there are four) and two levels below the first. ProductPage sizes have no meaning there. All media are asked
for, not only images, so that `mediaCount` tells whether they all came.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from uuid import uuid4

import msgspec

from connector_svc.domain.errors import SourceFailure
from connector_svc.platforms.shopify.client import ShopifyClient
from connector_svc.platforms.shopify.error_mapping import MaxCostExceeded, ShopifyInternalError, internal_error
from connector_svc.platforms.shopify.queries import Query
from connector_svc.platforms.shopify.read_strategy import BulkPolicy
from connector_svc.platforms.shopify.wire import Connection, Wire

_RUNS = frozenset({"CREATED", "RUNNING"})


class BulkJob(Wire, frozen=True, kw_only=True):
    """A BulkOperation. Counts are texts in the API."""

    id: str
    status: str
    error_code: str | None = None
    object_count: str = "0"
    root_object_count: str = "0"
    file_size: str | None = None
    url: str | None = None
    partial_data_url: str | None = None

    @property
    def runs(self) -> bool:
        """Whether it goes on by itself."""
        return self.status in _RUNS

    def __repr__(self) -> str:
        # Without the addresses: whoever has one has the file.
        return f"BulkJob({self.id} {self.status})"


class _UserError(Wire, frozen=True, kw_only=True):
    code: str | None = None
    message: str = ""


class _Outcome(Wire, frozen=True, kw_only=True):
    bulk_operation: BulkJob | None = None
    user_errors: tuple[_UserError, ...] = ()


class _Ran(Wire, frozen=True, kw_only=True):
    bulk_operation_run_query: _Outcome


class _Seen(Wire, frozen=True, kw_only=True):
    bulk_operation: BulkJob | None


class _Cancelled(Wire, frozen=True, kw_only=True):
    bulk_operation_cancel: _Outcome


class _MarkedJob(Wire, frozen=True, kw_only=True):
    id: str
    query: str


class _Recent(Wire, frozen=True, kw_only=True):
    bulk_operations: Connection[_MarkedJob]


_RECENT = msgspec.json.Decoder(_Recent)
_RAN = msgspec.json.Decoder(_Ran)
_SEEN = msgspec.json.Decoder(_Seen)
_CANCELLED = msgspec.json.Decoder(_Cancelled)


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """What came of starting a job."""

    job_id: str = ""
    """Empty: none runs for us."""
    refusal: str = ""
    """Why."""


class BulkJobs:
    """The jobs of one shop."""

    def __init__(self, client: ShopifyClient, policy: BulkPolicy) -> None:
        self._client = client
        self._policy = policy

    async def start(self, *, inventory: bool) -> Start:
        """Starts reading all products. Never raises SourceFailure: there is another way to read them.

        Sent once only, since two sendings may start two jobs. When its reply is lost, the job is looked for.
        """
        marker = f"catalogsync {uuid4().hex}"
        try:
            answer = await self._client.call(
                RUN_BULK_JOB, {"query": bulk_products(inventory=inventory, marker=marker)}
            )
            outcome = self._client.decoded(answer, _RAN).bulk_operation_run_query
        except (SourceFailure, ShopifyInternalError, MaxCostExceeded) as error:
            job_id = await self._found(marker)
            if job_id:
                return Start(job_id=job_id)
            return Start(refusal=f"the bulk job could not be started ({type(error).__name__})")
        if outcome.bulk_operation is not None and outcome.bulk_operation.id:
            return Start(job_id=outcome.bulk_operation.id)
        codes = ", ".join(sorted({error.code or "no code" for error in outcome.user_errors}))
        return Start(refusal=f"Shopify refused the bulk job: {codes or 'without a reason'}")

    async def _found(self, marker: str) -> str:
        """The job whose query has this comment; empty: none is known."""
        try:
            answer = await self._client.call(RECENT_BULK_JOBS, {})
            jobs = self._client.decoded(answer, _RECENT).bulk_operations.nodes
        except (SourceFailure, ShopifyInternalError, MaxCostExceeded):
            return ""
        return next((job.id for job in jobs if marker in job.query), "")

    async def look(self, job_id: str) -> BulkJob | None:
        """The job as it is now; None: Shopify knows none. Raises SourceFailure, ShopifyInternalError."""
        answer = await self._client.call(BULK_JOB, {"id": job_id})
        return self._client.decoded(answer, _SEEN).bulk_operation

    async def end(self, job_id: str) -> bool:
        """Tells the job to end and waits a moment until it has; whether there was something to tell.

        Raises SourceFailure.
        """
        try:
            job = await self.look(job_id)
            if job is None or not job.runs:
                return False
            answer = await self._client.call(CANCEL_BULK_JOB, {"id": job_id})
            outcome = self._client.decoded(answer, _CANCELLED).bulk_operation_cancel
            await self._cancelled(job_id)
        except (ShopifyInternalError, MaxCostExceeded) as error:
            raise internal_error(self._client.shop) from error
        return not outcome.user_errors

    async def _cancelled(self, job_id: str) -> None:
        now = asyncio.get_running_loop().time
        deadline = now() + self._policy.cancel_timeout.total_seconds()
        while now() < deadline:
            job = await self.look(job_id)
            if job is None or not (job.runs or job.status == "CANCELING"):
                return
            await asyncio.sleep(self._policy.first_poll_interval.total_seconds())


_INVENTORY = "inventoryItem { tracked measurement { weight { value unit } } }"

_PRODUCTS = """\
{
  products(sortKey: ID) {
    edges { node {
      id title handle descriptionHtml vendor productType tags status onlineStoreUrl createdAt updatedAt
      options { name values }
      variantsCount { count precision }
      mediaCount { count precision }
      media(sortKey: POSITION) {
        edges { node { id alt ... on MediaImage { image { url width height } } } }
      }
      variants {
        edges { node {
          id title sku barcode price compareAtPrice inventoryQuantity inventoryPolicy availableForSale position
          createdAt updatedAt
          selectedOptions { name value }
          media { edges { node { id } } }
          %s
        } }
      }
    } }
  }
}"""

RUN_BULK_JOB = Query(
    name="RunBulk",
    text="""\
mutation RunBulk($query: String!) {
  bulkOperationRunQuery(query: $query, groupObjects: false) {
    bulkOperation { id status }
    userErrors { code message }
  }
}""",
    idempotent=False,
)

BULK_JOB = Query(
    name="BulkJob",
    text="""\
query BulkJob($id: ID!) {
  bulkOperation(id: $id) {
    id status errorCode objectCount rootObjectCount fileSize url partialDataUrl
  }
}""",
)

RECENT_BULK_JOBS = Query(
    name="RecentBulkJobs",
    text="""\
query RecentBulkJobs {
  bulkOperations(first: 10, reverse: true, sortKey: CREATED_AT, query: "operation_type:query") {
    nodes { id status query }
  }
}""",
)

CANCEL_BULK_JOB = Query(
    name="CancelBulk",
    text="""\
mutation CancelBulk($id: ID!) {
  bulkOperationCancel(id: $id) {
    bulkOperation { id status }
    userErrors { message }
  }
}""",
)


def bulk_products(*, inventory: bool, marker: str) -> str:
    """All products with all variants and media; `inventory`: with their inventory items.

    `marker` stands in a comment, by which the job is found when the reply to its start is lost.
    """
    return f"# {marker}\n" + _PRODUCTS % (_INVENTORY if inventory else "")
