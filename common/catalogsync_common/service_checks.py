"""Checks that every service's `doctor` command makes: its settings, what production refuses, its TLS files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from catalogsync_common.diagnosis import Finding, Findings, misspelt
from catalogsync_common.endpoint_checks import Clock, check_expiry, utc_now
from catalogsync_common.production import Rule, production_violations
from catalogsync_common.settings import (
    ServiceSettings,
    SettingsError,
    load_settings,
    unknown_settings,
    variable_name,
    variables_of,
)
from catalogsync_common.tls_files import TlsFiles
from catalogsync_common.tls_settings import open_server_tls

S = TypeVar("S", bound=ServiceSettings)


def load_checked(findings: Findings, settings_type: type[S]) -> tuple[S | None, list[Finding]]:
    """Return the settings of this process and the findings about them; None if they are invalid."""
    check = "settings"
    found = [misspelt(findings, check, one) for one in unknown_settings(settings_type)]
    try:
        settings = load_settings(settings_type)
    except SettingsError as error:
        found += [findings.failed(check, line) for line in error.lines]
        return None, [*found, findings.skipped("everything else", "needs valid settings")]
    count = len(variables_of(settings_type))
    if not found:
        found.append(findings.ok(check, f"{count} of them are set, all of them are known and valid"))
    return settings, found


def check_production(findings: Findings, settings: S, rules: Sequence[Rule[S]]) -> Finding:
    """Return whether the settings may be used in production."""
    check = "production"
    variable = variable_name(type(settings), "environment")
    if settings.environment != "production":
        return findings.skipped(
            check, f"{variable} is {settings.environment}; set it to production for real shops"
        )
    if violations := production_violations(settings, rules):
        return findings.failed(check, "the service does not start: " + " ".join(violations))
    return findings.ok(check, "the settings are safe for production")


def check_server_tls(findings: Findings, settings: ServiceSettings, *, clock: Clock = utc_now) -> list[Finding]:
    """Return the findings about the TLS files of the server; none if it serves plaintext."""
    check = "TLS files of the server"
    try:
        tls = open_server_tls(settings)
    except SettingsError as error:
        return [findings.failed(check, "; ".join(error.lines))]
    return check_tls_files(findings, check, tls.files, clock=clock) if tls else []


def check_tls_files(findings: Findings, check: str, files: TlsFiles, *, clock: Clock = utc_now) -> list[Finding]:
    """Return whether the certificate of these files expires soon; nothing if they hold none."""
    if files.expires_at is None:
        return []
    return [check_expiry(findings, check, f"the certificate of the {files.name}", files.expires_at, clock=clock)]
