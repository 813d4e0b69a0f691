"""Stands in for a container engine: namespaces of Linux, an overlay as the root directory, users without rights.

The root directory is that of this machine with a layer of its own on top, in memory. Only the Python in it is made
to look like that of the base image. Processes run in it as an engine runs them: with the environment of the image
and of the manifest alone, as a user without capabilities, on a read-only file system except for the given mounts.
"""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.conftest import open_directory
from tests.waiting import until

_LAYERS_WITHIN: Final = Path("/dev/shm")
"""Where the layers are: overlayfs does not accept a layer within the directory that it covers."""
_COMMAND_SECONDS: Final = 300.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Namespaces for mounts, and perhaps for the network, with a root directory."""

    directory: Path
    """Of its layers, and for files of the test."""
    pid: int
    """Of the process that holds the namespaces."""
    private_network: bool
    processes: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        """The root directory, in the mount namespace of the machine."""
        return self.directory / "root"

    @property
    def layer(self) -> Path:
        """What was written into the root directory, to be read from outside of the namespaces."""
        return self.directory / "layer"

    def entered(self, *command: str, mounts: bool = True) -> tuple[str, ...]:
        """Return a command that runs another one in the namespaces."""
        namespaces = [*(["--mount"] if mounts else []), *(["--net"] if self.private_network else [])]
        return ("nsenter", f"--target={self.pid}", *namespaces, "--", *command)

    async def shell(self, script: str, *, env: Mapping[str, str], directory: str = "/") -> None:
        """Run a script as root in the root directory; it must succeed."""
        command = ("/bin/sh", "-ec", f"cd '{directory}'\n{script}")
        result = await _run(self.entered("chroot", str(self.root), "env", "-i", *_assignments(env), *command))
        assert result.code == 0, f"{script}\n{result.out}\n{result.err}"

    async def put(self, files: Mapping[str, Path]) -> None:
        """Copy files into the root directory, by their paths there."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for target, source in files.items():
                archive.add(source, arcname=target.lstrip("/"))
        unpack = ("tar", "--extract", "--no-same-owner", f"--directory={self.root}")
        result = await _run(self.entered(*unpack), stdin=packed.getvalue())
        assert result.code == 0, result.err

    async def make_mount_points(self, *, files: Sequence[str], directories: Sequence[str]) -> None:
        """Create what mounts cover, before the root directory becomes read-only."""
        lines = [f"mkdir -p '{path}'" for path in directories]
        lines += [f"mkdir -p '{Path(path).parent}' && touch '{path}'" for path in files]
        await self.shell("\n".join(lines), env={"PATH": "/usr/bin:/bin"})

    async def make_read_only(self) -> None:
        """Make the root directory read-only for everything that starts from now on."""
        result = await _run(self.entered("mount", "-o", "remount,ro", str(self.root)))
        assert result.code == 0, result.err

    def confined(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        user: str,
        files: Mapping[str, Path],
        writable: Sequence[str],
    ) -> tuple[str, ...]:
        """Return a command that runs another one as in a container.

        Args:
            command: of the container.
            env: its whole environment.
            user: number of the user and of the group.
            files: files and directories, by the path where they are mounted, read-only.
            writable: directories that are mounted to be written to.
        """
        uid, _, gid = user.partition(":")
        lines = [f"mount --bind '{source}' '{self.root}{path}'" for path, source in files.items()]
        lines += [f"mount -o remount,ro,bind '{self.root}{path}'" for path in files]
        lines += [f"mount -t tmpfs -o mode=1777 tmpfs '{self.root}{path}'" for path in writable]
        drop = f"--reuid={uid} --regid={gid} --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all"
        lines.append(f'exec chroot "{self.root}" setpriv {drop} env --chdir=/ -i "$@"')
        arguments = (*_assignments(env), *command)
        return self.entered("unshare", "--mount", "/bin/sh", "-ec", "\n".join(lines), "sh", *arguments)

    async def start(self, name: str, command: Sequence[str]) -> None:
        """Start a process whose output goes to a file, and return at once."""
        with self.log(name).open("wb") as log:
            self.processes[name] = await asyncio.create_subprocess_exec(
                *command,
                env=_environment(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def log(self, name: str) -> Path:
        """Return the file with the output of a process."""
        return self.directory / f"{name}.log"

    async def stop(self, name: str) -> int:
        """Send SIGTERM to a process, and return its exit code."""
        process = self.processes.pop(name)
        process.terminate()
        async with asyncio.timeout(_COMMAND_SECONDS):
            return await process.wait()

    async def run(self, command: Sequence[str]) -> Result:
        """Run a command to its end."""
        return await _run(command)


@asynccontextmanager
async def open_machine(*, private_network: bool) -> AsyncIterator[Machine]:
    """Yield a machine with a writable root directory; at the end kill all that runs in it.

    Args:
        private_network: whether it has a network of its own, which has only a loopback interface.
    """
    with open_directory("machine", within=_LAYERS_WITHIN) as directory:
        async with AsyncExitStack() as cleanup:
            directory.chmod(0o755)
            holder = await _hold_namespaces(directory, private_network=private_network)
            cleanup.push_async_callback(_kill, holder)
            ready = directory / "ready"
            await until(lambda: ready.exists() or holder.returncode is not None, seconds=_COMMAND_SECONDS)
            assert ready.exists(), "the namespaces could not be set up: see standard error"
            machine = Machine(directory=directory, pid=holder.pid, private_network=private_network)
            cleanup.push_async_callback(_kill_all, machine)
            yield machine


async def _hold_namespaces(directory: Path, *, private_network: bool) -> asyncio.subprocess.Process:
    for name in ("layer", "work", "root"):
        (directory / name).mkdir()
    layers = f"lowerdir=/,upperdir={directory}/layer,workdir={directory}/work"
    lines = [
        f"mount -t overlay overlay -o {layers} {directory}/root",
        f"mount --bind /proc {directory}/root/proc",
        f"mount --rbind /dev {directory}/root/dev",
        *(["ip link set lo up"] if private_network else []),
        # As in the official image of Python, where it is in /usr/local.
        f"chroot {directory}/root python3 -m venv /usr/local",
        f"touch {directory}/ready",
        "exec sleep infinity",
    ]
    return await asyncio.create_subprocess_exec(
        "unshare", "--mount", "--propagation=private", *(["--net"] if private_network else []),
        "/bin/sh", "-ec", "\n".join(lines), start_new_session=True, env=_environment(),
    )  # fmt: skip


def missing_rights() -> str:
    """Return why this process cannot open a machine; empty: it can."""
    programs = ("unshare", "nsenter", "setpriv", "chroot", "mount", "ip")
    path = _environment()["PATH"]
    if absent := [program for program in programs if shutil.which(program, path=path) is None]:
        return f"{', '.join(absent)} not found"
    if os.geteuid() != 0:
        return "only root can mount an overlay and change its user"
    if not _LAYERS_WITHIN.is_dir():
        return f"there is no {_LAYERS_WITHIN}"
    try:
        with open_directory("probe", within=_LAYERS_WITHIN) as directory:
            for name in ("layer", "work", "root"):
                (directory / name).mkdir()
            layers = f"lowerdir=/,upperdir={directory}/layer,workdir={directory}/work"
            script = f"mount -t overlay overlay -o {layers} {directory}/root && ip link set lo up"
            command = ("unshare", "--mount", "--net", "--propagation=private", "/bin/sh", "-ec", script)
            done = subprocess.run(
                command, env=_environment(), capture_output=True, text=True, timeout=_COMMAND_SECONDS
            )
    except OSError as error:
        return str(error)
    return "" if done.returncode == 0 else f"namespaces and overlays are not permitted: {done.stderr.strip()}"


async def _run(command: Sequence[str], *, stdin: bytes = b"") -> Result:
    process = await asyncio.create_subprocess_exec(
        *command,
        env=_environment(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(_COMMAND_SECONDS):
            out, err = await process.communicate(stdin)
    finally:
        await _kill(process)
    return Result(code=process.returncode or 0, out=out.decode(), err=err.decode())


async def _kill_all(machine: Machine) -> None:
    for process in reversed(machine.processes.values()):
        await _kill(process)


async def _kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        os.killpg(process.pid, 9)
        await process.wait()


def _environment() -> dict[str, str]:
    """Return the environment of this process, with the directories of the programs of root."""
    return {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}


def _assignments(env: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(f"{name}={value}" for name, value in env.items())
