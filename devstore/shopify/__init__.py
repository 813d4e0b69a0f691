"""The Shopify face: Admin GraphQL over the genuine 2026-10 schema, with its cursors, costs and rate limit."""
