"""Who gives us the credentials of shops: a file, the Token Service, or the first of them that knows a shop."""
