"""What is true of shops, syncs and items; imports no grpc and no SQL."""
