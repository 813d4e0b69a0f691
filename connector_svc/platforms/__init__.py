"""The ports of platforms, the registry of all platforms, and one package per platform."""
