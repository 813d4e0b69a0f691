"""Authentication of callers, and authorization of their calls by the access rules of the contract."""
