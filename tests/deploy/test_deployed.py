"""What compose.yaml and the overlays start: settings that load, ports that fit together, and time to stop."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import click
import pytest
from catalogsync_bff.settings import BffSettings
from catalogsync_bff.settings_check import check_settings
from catalogsync_cli.main import catalogsync
from catalogsync_common.health_probe import probe_target
from catalogsync_common.production import refuse_unsafe_production
from catalogsync_common.settings import ListenAddress, ProcessSettings, load_settings, unknown_settings

from catalog_svc import production as catalog_production
from catalog_svc.settings import CatalogSettings
from connector_svc import production as connector_production
from connector_svc.platforms.registry import PLATFORMS
from connector_svc.settings import settings_with_options
from tests.deploy.deployed import COMPOSE, DEPLOY, OVERLAYS, SERVERS, Deployed, compose, deployed, make_secrets

DEPLOYMENTS = (COMPOSE, *OVERLAYS)
ConnectorSettings = settings_with_options(PLATFORMS)
SETTINGS: Mapping[str, type[ProcessSettings]] = {
    "bff": BffSettings,
    "catalog": CatalogSettings,
    "connector": ConnectorSettings,
    "migrate": CatalogSettings,
}


def load(container: Deployed, secrets: Path, monkeypatch: pytest.MonkeyPatch, **changed: str) -> ProcessSettings:
    """Return the settings of a container, with its files where the test has them."""
    for name, value in {**container.env, **changed}.items():
        monkeypatch.setenv(name, host_path(container, value, secrets))
    return load_settings(SETTINGS[container.name])


def host_path(container: Deployed, value: str, secrets: Path) -> str:
    """Return a value with the path of a mounted secret replaced by its path here. The file must exist."""
    for mount, source in container.files.items():
        if value == mount or value.startswith(f"{mount}/"):
            file = Path(f"{secrets / source}{value.removeprefix(mount)}")
            assert file.is_file(), f"{container.name}: nothing writes {file}"
            return str(file)
    assert not value.startswith(("/run/", "/etc/")), f"{container.name}: {value} is not mounted"
    return value


@pytest.mark.parametrize("where", DEPLOYMENTS)
@pytest.mark.parametrize("name", SETTINGS)
def test_every_variable_is_a_setting_and_is_valid(
    where: str, name: str, secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable that no process knows has no effect and causes no error."""
    container = deployed(where)[name]
    prefix = SETTINGS[name].model_config["env_prefix"]
    assert [variable for variable in container.env if not variable.startswith(prefix)] == []
    load(container, secrets, monkeypatch)
    assert unknown_settings(SETTINGS[name]) == ()


def test_every_variable_of_the_command_line_tool_is_known() -> None:
    known = {option.envvar for option in catalogsync.params if isinstance(option, click.Option)}
    assert set(compose()["services"]["cli"]["environment"]) <= known


@pytest.mark.parametrize("where", DEPLOYMENTS)
@pytest.mark.parametrize("name", SETTINGS)
def test_a_combination_of_settings_that_starts(
    where: str, name: str, secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a process refuses at its start it refuses here. The URL of the database is the operator's."""
    container = deployed(where)[name]
    url = "postgresql://catalog@db.example/catalog?sslmode=verify-full"
    changed = {"CATALOG_DATABASE_URL": url} if name == "catalog" and where == "production" else {}
    settings = load(container, secrets, monkeypatch, **changed)
    if isinstance(settings, BffSettings):
        check_settings(settings)
    elif isinstance(settings, CatalogSettings) and name == "catalog":
        refuse_unsafe_production(settings, catalog_production.PRODUCTION_RULES)
    elif isinstance(settings, ConnectorSettings):
        refuse_unsafe_production(settings, connector_production.PRODUCTION_RULES)
    if where == "production" and name != "migrate":
        assert settings.environment == "production"


@pytest.mark.parametrize("where", DEPLOYMENTS)
@pytest.mark.parametrize("name", SERVERS)
def test_there_is_time_for_a_graceful_stop(
    where: str, name: str, secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise running batches are killed, and the last log line is missing."""
    container = deployed(where)[name]
    needed = load(container, secrets, monkeypatch).stop_timeout.total_seconds()
    period = (
        int(container.spec["stop_grace_period"].removesuffix("s"))
        if where == COMPOSE
        else container.spec["terminationGracePeriodSeconds"]
    )
    assert needed < period


@pytest.mark.parametrize("where", DEPLOYMENTS)
def test_every_command_exists(where: str) -> None:
    scripts = {script.name for script in entry_points(group="console_scripts")}
    for container in deployed(where).values():
        for command in (container.command, *healthchecks(container)):
            if command[:2] == ("python", "-m"):
                assert importlib.util.find_spec(command[2]), command
            else:
                assert command[0] in scripts, command


def healthchecks(container: Deployed) -> Iterator[tuple[str, ...]]:
    """Yield the command by which compose.yaml checks a service."""
    if check := container.spec.get("healthcheck"):
        kind, *command = check["test"]
        assert kind == "CMD"
        yield tuple(command)


@pytest.mark.parametrize("where", DEPLOYMENTS)
def test_one_image_for_all(where: str) -> None:
    assert len({container.image for container in deployed(where).values()}) == 1


@pytest.mark.parametrize("where", DEPLOYMENTS)
def test_every_client_calls_the_port_that_its_server_listens_on(where: str) -> None:
    containers = deployed(where)
    catalog, connector = containers["catalog"].env, containers["connector"].env
    for client, variable, server in (
        ("catalog", "CATALOG_CONNECTOR_ADDRESS", connector["CONNECTOR_LISTEN_ADDRESS"]),
        ("bff", "BFF_CATALOG_ADDRESS", catalog["CATALOG_LISTEN_ADDRESS"]),
    ):
        target = containers[client].env[variable]
        found = re.fullmatch(r"dns:///(connector|catalog)(\.catalogsync\.svc)?:(\d+)", target)
        # With "dns:///" a client sees all replicas.
        assert found, target
        assert int(found[3]) == ListenAddress(server).port


@pytest.mark.parametrize("where", DEPLOYMENTS)
def test_services_listen_where_containers_reach_them(where: str) -> None:
    containers = deployed(where)
    for name in SERVERS:
        listening = {
            variable: ListenAddress(value)
            for variable, value in containers[name].env.items()
            if re.fullmatch(r"[A-Z]+_(LISTEN|HEALTH|METRICS)_ADDRESS", variable)
        }
        assert listening
        assert {address.host for address in listening.values()} == {"0.0.0.0"}
        assert len({address.port for address in listening.values()}) == len(listening)
        assert all(probe_target(address).startswith("127.0.0.1:") for address in listening.values())


def test_in_production_only_the_bff_speaks_plaintext() -> None:
    """It is behind an ingress with TLS; metrics and health are no data of shops."""
    containers = deployed("production")
    insecure = [name for name, each in containers.items() for key in each.env if key.endswith("ALLOW_INSECURE")]
    assert insecure == ["bff"]


def test_the_compose_file_starts_each_service_after_what_it_needs() -> None:
    services: dict[str, Any] = compose()["services"]
    for name, service in services.items():
        for other, need in service.get("depends_on", {}).items():
            condition = need["condition"]
            assert condition == "service_completed_successfully" or "healthcheck" in services[other], (name, other)
    assert services["catalog"]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"


def test_networks_of_the_compose_file() -> None:
    """Who calls whom shares a network; the database and catalog_svc have no way to the internet."""
    parsed = compose()
    networks = {name: set(service["networks"]) for name, service in parsed["services"].items()}
    internal = {name for name, network in parsed["networks"].items() if network.get("internal")}
    for client, server in (
        ("migrate", "postgres"), ("catalog", "postgres"), ("catalog", "connector"), ("bff", "catalog"),
        ("cli", "catalog"), ("cli", "connector"),
    ):  # fmt: skip
        assert networks[client] & networks[server] & internal, (client, server)
    assert [name for name, each in networks.items() if not each <= internal] == ["connector", "bff"]
    assert not networks["connector"] & networks["postgres"]
    ports = {name: service["ports"] for name, service in parsed["services"].items() if "ports" in service}
    assert ports == {"bff": ["127.0.0.1:8080:8080"]}


def test_every_container_of_the_compose_file_is_confined() -> None:
    for name, service in compose()["services"].items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert "cap_add" not in service, name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not service.get("privileged"), name
        assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"]), name


def test_secrets_are_files_and_no_values() -> None:
    for where in DEPLOYMENTS:
        for container in deployed(where).values():
            for name in container.env:
                secret = re.search(r"SECRET|PASSWORD|_KEYS?$|_KEYS?_|DATABASE_URL|TOKEN", name)
                assert not secret or name.endswith("_FILE"), (where, name)


def test_secrets_are_new_for_each_installation_and_never_overwritten(tmp_path: Path) -> None:
    def contents(directory: Path) -> dict[str, str]:
        return {
            str(file.relative_to(directory)): file.read_text() for file in directory.rglob("*") if file.is_file()
        }

    first, second = make_secrets(tmp_path / "a"), make_secrets(tmp_path / "b")
    same = contents(first).items() & contents(second).items()
    assert {name for name, _ in same} == {"connector/credentials.toml"}
    # The files are readable by all, since a container reads them as another user: their directory is not.
    assert first.stat().st_mode & 0o777 == 0o700
    again = subprocess.run([DEPLOY / "make-secrets", first], capture_output=True, text=True, timeout=60)
    assert (again.returncode, "exists" in again.stderr) == (1, True)
