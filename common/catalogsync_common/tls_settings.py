"""Opens the TLS files that a service's settings name."""

from __future__ import annotations

from pathlib import Path

from catalogsync_common.server_tls import ServerTls
from catalogsync_common.settings import ServiceSettings, SettingsError, variable_name
from catalogsync_common.tls_files import TlsFilePaths, TlsFiles


def open_server_tls(settings: ServiceSettings) -> ServerTls | None:
    """Return the TLS configuration of the service's server; None: it serves plaintext.

    Raises:
        SettingsError: a file is not usable, or a setting lacks another one that it needs.
    """
    paths = _file_paths(settings, certificate="tls_cert_file", key="tls_key_file", ca="tls_client_ca_file")
    lines: list[str] = []
    if paths.ca is not None and paths.certificate is None:
        lines.append(_missing(settings, "tls_cert_file", because_of="tls_client_ca_file"))
    if settings.tls_allowed_names and paths.ca is None:
        lines.append(_missing(settings, "tls_client_ca_file", because_of="tls_allowed_names"))
    if lines:
        raise SettingsError(tuple(lines))
    if paths.certificate is None:
        return None
    return ServerTls(
        files=TlsFiles("server", paths),
        require_client_certificate=paths.ca is not None,
        allowed_names=settings.tls_allowed_names,
    )


def open_client_tls(settings: ServiceSettings, peer: str) -> TlsFiles | None:
    """Return the TLS files of the service as a client of `peer`; None: it connects in plaintext.

    Args:
        settings: the settings, with the fields `{peer}_tls_ca_file`, `{peer}_tls_cert_file`, `{peer}_tls_key_file`
            and `{peer}_tls_server_name`; the first one turns TLS on.
        peer: the name of the other service in the settings.

    Raises:
        SettingsError: a file is not usable, or a setting lacks another one that it needs.
    """
    ca, certificate, key = f"{peer}_tls_ca_file", f"{peer}_tls_cert_file", f"{peer}_tls_key_file"
    paths = _file_paths(settings, certificate=certificate, key=key, ca=ca)
    if paths.ca is None:
        dependent = (field for field in (certificate, f"{peer}_tls_server_name") if getattr(settings, field))
        if lines := tuple(_missing(settings, ca, because_of=field) for field in dependent):
            raise SettingsError(lines[:1])
        return None
    return TlsFiles(f"client of {peer}_svc", paths)


def _file_paths(settings: ServiceSettings, *, certificate: str, key: str, ca: str) -> TlsFilePaths:
    """Return the files that these fields of the settings name.

    Raises:
        SettingsError: there is a certificate without a key, or a key without a certificate.
    """
    files: dict[str, Path | None] = {field: getattr(settings, field) for field in (certificate, key, ca)}
    for field, other in ((certificate, key), (key, certificate)):
        if files[field] is None and files[other] is not None:
            raise SettingsError((_missing(settings, field, because_of=other),))
    variables = {file: variable_name(type(settings), field) for field, file in files.items() if file is not None}
    return TlsFilePaths(certificate=files[certificate], key=files[key], ca=files[ca], variables=variables)


def _missing(settings: ServiceSettings, field: str, *, because_of: str) -> str:
    variable, other = (variable_name(type(settings), name) for name in (field, because_of))
    return f"{variable}: is missing, but {other} is set"
