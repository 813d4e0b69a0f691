from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.connector_svc.bigcommerce.bigcommerce_store import StoreFactory, store_factory


@pytest.fixture
def open_store(tmp_path: Path) -> StoreFactory:
    return store_factory(tmp_path)
