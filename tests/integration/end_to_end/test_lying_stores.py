"""A store that errs while its merchant works: a sync that succeeds stored every product and deleted none of them.

`LYING_SEEDS=10 pytest tests/integration/end_to_end/test_lying_stores.py` runs the same with more seeds.
"""

from __future__ import annotations

import os

import pytest

from tests.integration.end_to_end.conftest import Opens
from tests.integration.end_to_end.lying_stores import LIES, WORK, run_lies
from tests.thoroughness import cases


@pytest.mark.parametrize("seed", range(int(os.environ.get("LYING_SEEDS", cases(1, in_ci=2)))))
@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("lie", LIES)
async def test_a_sync_of_a_lying_store_ends_exact_or_failed(opens: Opens, lie: str, work: str, seed: int) -> None:
    await run_lies(opens, lie=lie, work=work, seed=seed)
