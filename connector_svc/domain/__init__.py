"""Domain types of the connector: shops, products, fetches and their errors; imports neither grpc nor aiohttp."""
