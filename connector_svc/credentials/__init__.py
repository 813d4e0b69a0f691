"""Who gives us the credentials of shops: a file, the Token Service, or the first of them that knows a shop; and
where those are an app's, the token that it is granted."""
