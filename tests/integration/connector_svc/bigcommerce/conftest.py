from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.connector_svc.bigcommerce.bigcommerce_store import Opens, opener


@pytest.fixture
def opens(tmp_path: Path) -> Opens:
    return opener(tmp_path)
