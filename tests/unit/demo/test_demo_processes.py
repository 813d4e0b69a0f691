"""The demo's processes, with real ones."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from demo.processes import ChildDied, Family, child_environment
from tests.waiting import forever, until

ROOT = Path(__file__).parents[3]
SLEEPS = "import time; print('up', flush=True); time.sleep(60)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEPS}"
NOTES_ITS_END = """
import signal, sys, time
def end(*_):
    open(sys.argv[1], "a").write(sys.argv[2] + " "); sys.exit(0)
signal.signal(signal.SIGTERM, end); print("up", flush=True); time.sleep(60)
"""


PARENT = """
import asyncio, sys
from pathlib import Path
from demo.processes import Family

async def main() -> None:
    place = Path(sys.argv[1])
    async with Family(directory=place, logs=place) as family:
        await family.start("child", "-c", sys.argv[2])
        print(family.pids["child"], flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def family_in(directory: Path) -> Family:
    return Family(directory=directory, logs=directory)


async def up(log: Path) -> None:
    await until(lambda: "up" in log.read_text())


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_leaving_the_family_ends_the_youngest_first_and_leaves_none(tmp_path: Path) -> None:
    async with family_in(tmp_path) as family:
        for name in ("first", "second"):
            await family.start(name, "-c", NOTES_ITS_END, str(tmp_path / "ends"), name)
            await up(tmp_path / f"{name}.log")
        pids = family.pids
    assert (tmp_path / "ends").read_text().split() == ["second", "first"]
    assert not any(is_alive(pid) for pid in pids.values())


async def test_a_process_that_will_not_stop_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "STOP_PATIENCE", 0.3)
    async with family_in(tmp_path) as family:
        await family.start("stubborn", "-c", STUBBORN)
        await up(tmp_path / "stubborn.log")
        pid = family.pids["stubborn"]
    assert not is_alive(pid)


async def test_a_death_ends_the_work_with_the_last_lines_of_the_log(tmp_path: Path) -> None:
    async with family_in(tmp_path) as family:
        await family.start("brittle", "-c", "print('the reason', flush=True); raise SystemExit(3)")
        with pytest.raises(ChildDied, match="brittle ended with code 3") as raised:
            await family.during(forever())
    assert "the reason" in str(raised.value)


async def test_work_that_fails_since_a_process_died_is_told_as_the_death(tmp_path: Path) -> None:
    async def fails() -> None:
        raise ConnectionError("broke")

    async with family_in(tmp_path) as family:
        await family.start("brittle", "-c", "import time; time.sleep(0.3); raise SystemExit(3)")
        with pytest.raises(ChildDied):
            await family.during(fails())


async def test_a_failure_midway_leaves_no_process(tmp_path: Path) -> None:
    pids: dict[str, int] = {}

    async def breaks() -> None:
        async with family_in(tmp_path) as family:
            await family.start("sleeper", "-c", SLEEPS)
            pids.update(family.pids)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await breaks()
    assert len(pids) == 1
    assert not any(is_alive(pid) for pid in pids.values())


def test_settings_of_the_caller_do_not_reach_the_demo() -> None:
    inherited = {"CATALOG_DATABASE_URL": "postgresql://production", "CONNECTOR_CA_FILE": "x", "PATH": "/bin"}
    environment = child_environment(inherited, {"CATALOG_DATA_DIR": "/here"})
    assert environment["PATH"] == "/bin"
    assert {name for name in environment if name.startswith(("CATALOG_", "CONNECTOR_"))} == {"CATALOG_DATA_DIR"}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_no_process_outlives_a_demo_that_was_killed(tmp_path: Path, number: signal.Signals) -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, str(tmp_path), SLEEPS, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    child = int(await parent.stdout.readline())
    await up(tmp_path / "child.log")
    parent.send_signal(number)
    await parent.communicate()
    await until(lambda: not is_alive(child))
