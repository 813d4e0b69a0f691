"""What we ask of Shopify about bulk operations, and the query that runs in one.

The query asks for what a page asks for, by the rules of bulk: edges and node, the id of every parent, at most five
connections (there are four) and two levels below the first. Page sizes have no meaning there. All media are asked
for, not only images, so that `mediaCount` tells whether they all came.
"""

from __future__ import annotations

from connector_svc.platforms.shopify.queries import Query

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

RUN = Query(
    name="RunBulk",
    text="""\
mutation RunBulk($query: String!) {
  bulkOperationRunQuery(query: $query, groupObjects: false) {
    bulkOperation { id status }
    userErrors { code message }
  }
}""",
    repeatable=False,
)

LOOK = Query(
    name="BulkJob",
    text="""\
query BulkJob($id: ID!) {
  bulkOperation(id: $id) {
    id status errorCode objectCount rootObjectCount fileSize url partialDataUrl
  }
}""",
)

RECENT = Query(
    name="RecentBulkJobs",
    text="""\
query RecentBulkJobs {
  bulkOperations(first: 10, reverse: true, sortKey: CREATED_AT, query: "operation_type:query") {
    nodes { id status query }
  }
}""",
)

CANCEL = Query(
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
