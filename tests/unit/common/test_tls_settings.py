"""TLS settings that cannot work are refused at the start, each with a line that names the variable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from catalogsync_common.settings import SettingsError, load_settings
from catalogsync_common.tls_settings import open_client_tls, open_server_tls

from catalog_svc.settings import CatalogSettings
from tests.tls import Authority, IssuedFiles, replace_file


@pytest.fixture(autouse=True)
def _own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "tls")


@pytest.fixture
def issued(authority: Authority) -> IssuedFiles:
    return authority.issue("server")


def open_server(**fields: Any) -> Any:
    return open_server_tls(CatalogSettings(**fields))


def open_client(**fields: Any) -> Any:
    return open_client_tls(CatalogSettings(**fields), "connector")


def lines(open_tls: Any, **fields: Any) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        open_tls(**fields)
    return caught.value.lines


def test_without_settings_there_is_no_tls() -> None:
    assert open_server() is None
    assert open_client() is None


def test_files_and_names_are_read_from_the_environment(
    authority: Authority, issued: IssuedFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CATALOG_TLS_CERT_FILE", str(issued.certificate))
    monkeypatch.setenv("CATALOG_TLS_KEY_FILE", str(issued.key))
    monkeypatch.setenv("CATALOG_TLS_CLIENT_CA_FILE", str(authority.file))
    monkeypatch.setenv("CATALOG_TLS_ALLOWED_NAMES", "bff.internal, spiffe://acme/bff ,")
    monkeypatch.setenv("CATALOG_CONNECTOR_TLS_CA_FILE", str(authority.file))
    settings = load_settings(CatalogSettings)
    server = open_server_tls(settings)
    assert server is not None
    assert server.allowed_names == ("bff.internal", "spiffe://acme/bff")
    assert (server.require_client_certificate, server.authenticates_clients) == (True, True)
    client = open_client_tls(settings, "connector")
    assert client is not None
    assert client.current().ca == authority.file.read_bytes()
    assert client.current().pair is None


@pytest.mark.parametrize("names", ["*.internal", "a b", "-x", "spiffe://a,b c", "http//x", "a@b.example", "a_b"])
def test_an_allowed_name_is_a_dns_name_or_a_uri(names: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CATALOG_TLS_ALLOWED_NAMES", names)
    with pytest.raises(SettingsError, match="CATALOG_TLS_ALLOWED_NAMES: expected DNS names and URIs"):
        load_settings(CatalogSettings)


def test_a_certificate_and_its_key_belong_together(authority: Authority, issued: IssuedFiles) -> None:
    assert lines(open_server, tls_cert_file=issued.certificate) == (
        "CATALOG_TLS_KEY_FILE: is missing, but CATALOG_TLS_CERT_FILE is set",
    )
    assert lines(open_server, tls_key_file=issued.key) == (
        "CATALOG_TLS_CERT_FILE: is missing, but CATALOG_TLS_KEY_FILE is set",
    )
    assert lines(
        open_client, connector_tls_cert_file=issued.certificate, connector_tls_ca_file=authority.file
    ) == ("CATALOG_CONNECTOR_TLS_KEY_FILE: is missing, but CATALOG_CONNECTOR_TLS_CERT_FILE is set",)


def test_client_cas_need_a_certificate_and_allowed_names_need_client_cas(
    authority: Authority, issued: IssuedFiles
) -> None:
    assert lines(open_server, tls_client_ca_file=authority.file) == (
        "CATALOG_TLS_CERT_FILE: is missing, but CATALOG_TLS_CLIENT_CA_FILE is set",
    )
    certificate = {"tls_cert_file": issued.certificate, "tls_key_file": issued.key}
    assert lines(open_server, **certificate, tls_allowed_names="bff.internal") == (
        "CATALOG_TLS_CLIENT_CA_FILE: is missing, but CATALOG_TLS_ALLOWED_NAMES is set",
    )


def test_without_a_ca_the_other_settings_of_a_client_are_refused(issued: IssuedFiles) -> None:
    pair = {"connector_tls_cert_file": issued.certificate, "connector_tls_key_file": issued.key}
    assert lines(open_client, **pair) == (
        "CATALOG_CONNECTOR_TLS_CA_FILE: is missing, but CATALOG_CONNECTOR_TLS_CERT_FILE is set",
    )
    assert lines(open_client, connector_tls_server_name="connector.internal") == (
        "CATALOG_CONNECTOR_TLS_CA_FILE: is missing, but CATALOG_CONNECTOR_TLS_SERVER_NAME is set",
    )


def test_each_unusable_file_is_reported_with_its_variable(authority: Authority, issued: IssuedFiles) -> None:
    replace_file(issued.key, b"")
    replace_file(authority.file, b"garbage")
    fields = {
        "tls_cert_file": issued.certificate,
        "tls_key_file": issued.key,
        "tls_client_ca_file": authority.file,
    }
    assert lines(open_server, **fields) == (
        f"CATALOG_TLS_KEY_FILE: {issued.key} is empty",
        f"CATALOG_TLS_CLIENT_CA_FILE: {authority.file} does not contain complete PEM certificates",
    )
