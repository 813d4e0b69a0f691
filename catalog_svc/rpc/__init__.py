"""How the catalog is asked: servicer, checks of requests, domain to proto."""
