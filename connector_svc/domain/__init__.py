"""What the connector knows to be true of shops and products; imports no grpc and no aiohttp."""
