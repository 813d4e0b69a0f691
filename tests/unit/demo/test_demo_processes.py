"""ProcessGroup, with real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from demo import processes
from demo.processes import ProcessExited, ProcessGroup, process_environment
from tests.waiting import forever, until

ROOT = Path(__file__).parents[3]
SLEEPS = "import time; print('up', flush=True); time.sleep(60)"
IGNORES_SIGTERM = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEPS}"
RECORDS_ITS_EXIT = """
import signal, sys, time
def end(*_):
    open(sys.argv[1], "a").write(sys.argv[2] + " "); sys.exit(0)
signal.signal(signal.SIGTERM, end); print("up", flush=True); time.sleep(60)
"""


PARENT = """
import asyncio, sys
from pathlib import Path
from demo.processes import ProcessGroup

async def main() -> None:
    directory = Path(sys.argv[1])
    async with ProcessGroup(directory=directory, logs=directory) as group:
        await group.start("child", "-c", sys.argv[2])
        print(group.pids["child"], flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def group_in(directory: Path) -> ProcessGroup:
    return ProcessGroup(directory=directory, logs=directory)


async def wait_until_up(log: Path) -> None:
    await until(lambda: "up" in log.read_text())


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_leaving_the_group_stops_the_newest_process_first_and_leaves_none(tmp_path: Path) -> None:
    async with group_in(tmp_path) as group:
        for name in ("first", "second"):
            await group.start(name, "-c", RECORDS_ITS_EXIT, str(tmp_path / "exits"), name)
            await wait_until_up(tmp_path / f"{name}.log")
        pids = group.pids
    assert (tmp_path / "exits").read_text().split() == ["second", "first"]
    assert not any(is_alive(pid) for pid in pids.values())


async def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "STOP_TIMEOUT_SECONDS", 0.3)
    async with group_in(tmp_path) as group:
        await group.start("unstoppable", "-c", IGNORES_SIGTERM)
        await wait_until_up(tmp_path / "unstoppable.log")
        pid = group.pids["unstoppable"]
    assert not is_alive(pid)


async def test_an_exit_raises_with_the_last_lines_of_the_log(tmp_path: Path) -> None:
    async with group_in(tmp_path) as group:
        await group.start("failing", "-c", "print('the reason', flush=True); raise SystemExit(3)")
        with pytest.raises(ProcessExited, match="failing exited with code 3") as raised:
            await group.supervise(forever())
    assert "the reason" in str(raised.value)


async def test_work_that_fails_because_a_process_exited_raises_the_exit(tmp_path: Path) -> None:
    async def fails() -> None:
        raise ConnectionError("broke")

    async with group_in(tmp_path) as group:
        await group.start("failing", "-c", "import time; time.sleep(0.3); raise SystemExit(3)")
        with pytest.raises(ProcessExited):
            await group.supervise(fails())


async def test_an_exception_in_the_group_leaves_no_process(tmp_path: Path) -> None:
    pids: dict[str, int] = {}

    async def fails() -> None:
        async with group_in(tmp_path) as group:
            await group.start("sleeper", "-c", SLEEPS)
            pids.update(group.pids)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fails()
    assert len(pids) == 1
    assert not any(is_alive(pid) for pid in pids.values())


def test_settings_of_the_caller_do_not_reach_the_demo() -> None:
    inherited = {"CATALOG_DATABASE_URL": "postgresql://production", "CONNECTOR_CA_FILE": "x", "PATH": "/bin"}
    environment = process_environment(inherited, {"CATALOG_DATA_DIR": "/here"})
    assert environment["PATH"] == "/bin"
    assert {name for name in environment if name.startswith(("CATALOG_", "CONNECTOR_"))} == {"CATALOG_DATA_DIR"}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_no_process_outlives_a_killed_demo(tmp_path: Path, number: signal.Signals) -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, str(tmp_path), SLEEPS, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    child = int(await parent.stdout.readline())
    await wait_until_up(tmp_path / "child.log")
    parent.send_signal(number)
    await parent.communicate()
    await until(lambda: not is_alive(child))
