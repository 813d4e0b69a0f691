"""Reverse proxies as processes, configured as in docs/bff.md, with their default buffering."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_READY_TIMEOUT_SECONDS: Final = 60.0

_NGINX: Final = """
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr;
events {{}}
http {{
  access_log off;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://{upstream};
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
    }}
  }}
}}
"""
_CADDY: Final = """
{{
  admin off
  auto_https off
  servers {{
    protocols h1 h2c
  }}
}}
http://127.0.0.1:{port} {{
  @compressible not path */events
  encode @compressible gzip
  reverse_proxy {upstream}
}}
"""
_HAPROXY: Final = """
defaults
  mode http
  option http-no-delay
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend browsers
  bind 127.0.0.1:{port}
  default_backend bff
backend bff
  server bff {upstream}
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReverseProxy:
    """A program that passes HTTP requests on."""

    name: str
    """Of the program, and of its Debian package."""
    configuration: str
    command: Callable[[Path], Sequence[str]]
    """The arguments, by the file of the configuration."""

    @property
    def program(self) -> str | None:
        """The path of the program; None: it is not installed."""
        search = f"{os.environ.get('PATH', '')}:/usr/sbin"
        return shutil.which(self.name, path=search)

    @asynccontextmanager
    async def running(self, upstream: str, directory: Path) -> AsyncIterator[str]:
        """Run the proxy and yield its origin.

        Args:
            upstream: host and port of the BFF.
            directory: for its files; must exist.
        """
        program = self.program
        assert program is not None
        port = _free_port()
        file = directory / f"{self.name}.conf"
        file.write_text(self.configuration.format(directory=directory, port=port, upstream=upstream))
        with (directory / f"{self.name}.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                program,
                *self.command(file),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "HOME": str(directory), "XDG_CONFIG_HOME": str(directory)},
            )
        try:
            await _wait_until_listening(port, process)
            yield f"http://127.0.0.1:{port}"
        finally:
            with suppress(ProcessLookupError):
                process.terminate()
            await process.wait()


NGINX: Final = ReverseProxy(
    name="nginx", configuration=_NGINX, command=lambda file: ("-c", str(file), "-p", str(file.parent))
)
CADDY: Final = ReverseProxy(
    name="caddy",
    configuration=_CADDY,
    command=lambda file: ("run", "--adapter", "caddyfile", "--config", str(file)),
)
HAPROXY: Final = ReverseProxy(name="haproxy", configuration=_HAPROXY, command=lambda file: ("-f", str(file)))
REVERSE_PROXIES: Final = (NGINX, CADDY, HAPROXY)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _wait_until_listening(port: int, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(_READY_TIMEOUT_SECONDS):
        while True:
            if process.returncode is not None:
                raise RuntimeError(f"the proxy exited with code {process.returncode}")
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
                continue
            writer.close()
            return
