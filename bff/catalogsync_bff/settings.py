"""Settings of the BFF; each is an environment variable with the prefix BFF_."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final

from catalogsync_common.settings import Duration, ListenAddress, NetworkList, ProcessSettings
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode, SettingsConfigDict
from yarl import URL

_MEGABYTE: Final = 1024 * 1024


def _check_origin(text: str) -> str:
    """Check that the text is the origin of a website: scheme, host and perhaps a port."""
    try:
        url = URL(text)
        is_origin = url.scheme in ("http", "https") and bool(url.host) and not url.user and not url.password
    except ValueError:
        is_origin = False
    if text and not (is_origin and url.path in ("", "/") and not url.query_string and not url.fragment):
        raise ValueError('expected "https://host" or "https://host:port"')
    return str(url.origin()) if text else ""


def _parse_hosts(value: object) -> object:
    """Parse "127.0.0.1:8443, images.internal:443". Raises ValueError that names the wrong one."""
    if not isinstance(value, str):
        return value
    hosts = tuple(text.strip().lower() for text in value.split(",") if text.strip())
    for host in hosts:
        name, colon, port = host.rpartition(":")
        if not (name and colon and port.isdecimal() and int(port) < 65536):
            raise ValueError(f"expected hosts with ports, separated by commas, not {host!r}")
    return hosts


class BffSettings(ProcessSettings):
    """Settings of one process, as listed in docs/bff.md."""

    model_config = SettingsConfigDict(env_prefix="BFF_", env_ignore_empty=True)

    listen_address: ListenAddress = ListenAddress("127.0.0.1:8080")
    public_url: Annotated[str, AfterValidator(_check_origin)] = ""
    """The origin that browsers see: "https://catalog.example". Empty: only this machine calls the BFF."""
    catalog_address: str = "127.0.0.1:50051"
    catalog_tls_ca_file: Path | None = None
    """PEM: the CAs of catalog_svc's certificate; it turns TLS on for the connection to catalog_svc."""
    catalog_tls_cert_file: Path | None = None
    """PEM: the certificate that the BFF presents to catalog_svc (mTLS), with `catalog_tls_key_file`."""
    catalog_tls_key_file: Path | None = None
    catalog_tls_server_name: str = ""
    """The name in catalog_svc's certificate; empty: the host in `catalog_address`."""
    service_secret: SecretStr = SecretStr("")
    """"name:secret": the BFF, as catalog_svc knows it. Empty: catalog_svc runs without authentication."""
    client_key: SecretStr = SecretStr("")
    """"kid:key", one of catalog_svc's CLIENT_KEYS: signs the tokens of merchants."""
    client_issuer: str = ""
    client_audience: str = "catalogsync"
    """The `iss` and the `aud` of these tokens, as catalog_svc expects them."""
    handover_keys: SecretStr = SecretStr("")
    """"kid:key,kid:key": verify the hand-over tokens of the merchants' platform."""
    session_keys: SecretStr = SecretStr("")
    """"kid:key,kid:key": the first one signs session cookies, all verify them. Empty: a random key."""
    session_lifetime: Duration = Field(default=timedelta(hours=8), ge=timedelta(minutes=1))
    dev_login: bool = False
    """Whether everyone who can call the BFF may open a session. Only on a loopback address."""
    dev_subject: str = ""
    """Whose shops such a session sees: "merchant:ID" or the domain of a shop; empty: all shops."""
    heartbeat_interval: Duration = Field(
        default=timedelta(seconds=10), ge=timedelta(milliseconds=100), le=timedelta(seconds=25)
    )
    """Between two heartbeats of an event stream without events."""
    max_streams: int = Field(default=5_000, ge=1)
    """Event streams of all browsers."""
    max_streams_per_subject: int = Field(default=200, ge=1)
    """Event streams of the browsers of one merchant."""
    max_watched_syncs: int = Field(default=500, ge=1)
    """Syncs whose progress is watched upstream at the same time."""
    image_hosts: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_parse_hosts)] = ()
    """"host:port": where images may be fetched although the address is internal. For development and tests."""
    image_ca_file: Path | None = None
    """PEM; trusted in addition to the system's roots, for images of stores with a private CA."""
    image_denied_networks: NetworkList = ()
    """The operator's own networks that have public addresses: no image is fetched there."""
    image_cache_bytes: int = Field(default=64 * _MEGABYTE, ge=0)
    """Memory for resized images."""
