"""Checks of the supply chain: `make audit` and `make sbom`."""
