"""The Shopify API: Admin GraphQL over the genuine 2026-10 schema, with its cursors, query costs and rate limit."""
