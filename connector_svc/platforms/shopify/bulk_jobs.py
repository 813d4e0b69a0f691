"""Shopify's bulk operations: start one, look at it, cancel it.

See https://shopify.dev/docs/api/usage/bulk-operations/queries. The query of the operation selects the same fields
as a page of products, by the rules of bulk operations: `edges` and `node`, the id of every parent, at most five
connections (it has four) and two levels below the first. Page sizes have no meaning there. All media are selected,
not only images, so that `mediaCount` shows whether they all arrived.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from uuid import uuid4

import msgspec

from connector_svc.domain.errors import SourceFailure
from connector_svc.platforms.shopify.client import ShopifyClient
from connector_svc.platforms.shopify.error_mapping import MaxCostExceeded, ShopifyInternalError, internal_error
from connector_svc.platforms.shopify.queries import (
    INVENTORY_FIELDS,
    MEDIA_FIELDS,
    PRODUCT_FIELDS,
    VARIANT_FIELDS,
    Query,
)
from connector_svc.platforms.shopify.read_strategy import BulkPolicy
from connector_svc.platforms.shopify.wire import Connection, Wire

_PRODUCTS = f"""\
{{
  products(sortKey: ID) {{
    edges {{ node {{
      {PRODUCT_FIELDS}
      variantsCount {{ count precision }}
      mediaCount {{ count precision }}
      media(sortKey: POSITION) {{
        edges {{ node {{ {MEDIA_FIELDS} }} }}
      }}
      variants {{
        edges {{ node {{
          {VARIANT_FIELDS}
          media {{ edges {{ node {{ id }} }} }}
          %s
        }} }}
      }}
    }} }}
  }}
}}"""

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
    """Return the bulk query for all products with all variants and media.

    Args:
        inventory: Include the inventory items of the variants.
        marker: A comment in the query, by which the job is found when the response to its start is lost.
    """
    return f"# {marker}\n" + _PRODUCTS % (INVENTORY_FIELDS if inventory else "")


_RUNNING_STATUSES = frozenset({"CREATED", "RUNNING"})


class BulkJob(Wire, frozen=True, kw_only=True):
    """A BulkOperation. Counts are strings in the API."""

    id: str
    status: str
    error_code: str | None = None
    object_count: str = "0"
    root_object_count: str = "0"
    file_size: str | None = None
    url: str | None = None
    partial_data_url: str | None = None

    @property
    def is_running(self) -> bool:
        """Whether the job continues by itself."""
        return self.status in _RUNNING_STATUSES

    def __repr__(self) -> str:
        # Without the URLs: whoever has one can download the file.
        return f"BulkJob({self.id} {self.status})"


class _UserError(Wire, frozen=True, kw_only=True):
    code: str | None = None
    message: str = ""


class _MutationResult(Wire, frozen=True, kw_only=True):
    bulk_operation: BulkJob | None = None
    user_errors: tuple[_UserError, ...] = ()


class _RunData(Wire, frozen=True, kw_only=True):
    bulk_operation_run_query: _MutationResult


class _JobData(Wire, frozen=True, kw_only=True):
    bulk_operation: BulkJob | None


class _CancelData(Wire, frozen=True, kw_only=True):
    bulk_operation_cancel: _MutationResult


class _RecentJob(Wire, frozen=True, kw_only=True):
    id: str
    query: str


class _RecentData(Wire, frozen=True, kw_only=True):
    bulk_operations: Connection[_RecentJob]


_RUN_DATA = msgspec.json.Decoder(_RunData)
_JOB_DATA = msgspec.json.Decoder(_JobData)
_CANCEL_DATA = msgspec.json.Decoder(_CancelData)
_RECENT_DATA = msgspec.json.Decoder(_RecentData)


@dataclass(frozen=True, kw_only=True, slots=True)
class StartResult:
    """The result of starting a job."""

    job_id: str = ""
    """Empty: no job runs for us."""
    refusal: str = ""
    """The reason when no job runs."""


class BulkJobs:
    """The bulk operations of one shop."""

    def __init__(self, client: ShopifyClient, policy: BulkPolicy) -> None:
        self._client = client
        self._policy = policy

    async def start(self, *, inventory: bool) -> StartResult:
        """Start reading all products. Never raises SourceFailure: there is another way to read them.

        The mutation is sent only once, since sending it twice may start two jobs. When its response is lost, the
        job is looked up by its marker.
        """
        marker = f"catalogsync {uuid4().hex}"
        query = bulk_products(inventory=inventory, marker=marker)
        try:
            response = await self._client.call(RUN_BULK_JOB, {"query": query})
            result = self._client.decode(response, _RUN_DATA).bulk_operation_run_query
        except (SourceFailure, ShopifyInternalError, MaxCostExceeded) as error:
            job_id = await self._find_by_marker(marker)
            if job_id:
                return StartResult(job_id=job_id)
            return StartResult(refusal=f"the bulk job could not be started ({type(error).__name__})")
        if result.bulk_operation is not None and result.bulk_operation.id:
            return StartResult(job_id=result.bulk_operation.id)
        codes = ", ".join(sorted({error.code or "no code" for error in result.user_errors}))
        return StartResult(refusal=f"Shopify refused the bulk job: {codes or 'without a reason'}")

    async def _find_by_marker(self, marker: str) -> str:
        """Return the id of the job whose query has this comment; empty: none is known."""
        try:
            response = await self._client.call(RECENT_BULK_JOBS, {})
            jobs = self._client.decode(response, _RECENT_DATA).bulk_operations.nodes
        except (SourceFailure, ShopifyInternalError, MaxCostExceeded):
            return ""
        return next((job.id for job in jobs if marker in job.query), "")

    async def get(self, job_id: str) -> BulkJob | None:
        """Return the current state of a job; None: Shopify knows none.

        Raises:
            SourceFailure: The shop cannot be read.
            ShopifyInternalError: Shopify failed internally.
            MaxCostExceeded: The query is too expensive.
        """
        response = await self._client.call(BULK_JOB, {"id": job_id})
        return self._client.decode(response, _JOB_DATA).bulk_operation

    async def cancel(self, job_id: str) -> bool:
        """Cancel a job and wait until it has ended, at most the policy's cancel timeout.

        Returns:
            Whether a running job was cancelled; False when none was running or Shopify refused.

        Raises:
            SourceFailure: The shop cannot be read.
        """
        try:
            job = await self.get(job_id)
            if job is None or not job.is_running:
                return False
            response = await self._client.call(CANCEL_BULK_JOB, {"id": job_id})
            result = self._client.decode(response, _CANCEL_DATA).bulk_operation_cancel
            await self._wait_until_cancelled(job_id)
        except (ShopifyInternalError, MaxCostExceeded) as error:
            raise internal_error(self._client.shop) from error
        return not result.user_errors

    async def _wait_until_cancelled(self, job_id: str) -> None:
        now = asyncio.get_running_loop().time
        deadline = now() + self._policy.cancel_timeout.total_seconds()
        while now() < deadline:
            job = await self.get(job_id)
            if job is None or not (job.is_running or job.status == "CANCELING"):
                return
            await asyncio.sleep(self._policy.first_poll_interval.total_seconds())
