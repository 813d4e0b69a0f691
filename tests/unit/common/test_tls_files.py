"""Changed TLS files are read again; while they are not usable, the last good ones stay in use."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from catalogsync_common.certificate_monitor import CertificateMonitor
from catalogsync_common.drain import Drain
from catalogsync_common.settings import SettingsError
from catalogsync_common.tls_files import TlsFilePaths, TlsFiles
from prometheus_client import CollectorRegistry

from tests.tls import NOT_AFTER, NOT_BEFORE, Authority, IssuedFiles, replace_file


class Clock:
    """Both clocks, set by the test."""

    def __init__(self) -> None:
        self.now = NOT_BEFORE + timedelta(days=2)

    def utc_now(self) -> datetime:
        return self.now

    def monotonic(self) -> float:
        return self.now.timestamp()

    def advance(self, **delta: float) -> None:
        self.now += timedelta(**delta)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "tls")


@pytest.fixture
def issued(authority: Authority) -> IssuedFiles:
    return authority.issue("server")


@pytest.fixture
def files(authority: Authority, issued: IssuedFiles, clock: Clock) -> TlsFiles:
    return open_files(authority, issued, clock)


def open_files(authority: Authority, issued: IssuedFiles, clock: Clock) -> TlsFiles:
    variables = {issued.certificate: "X_TLS_CERT_FILE", issued.key: "X_TLS_KEY_FILE", authority.file: "X_TLS_CA"}
    paths = TlsFilePaths(certificate=issued.certificate, key=issued.key, ca=authority.file, variables=variables)
    return TlsFiles("server", paths, utc_now=clock.utc_now, monotonic=clock.monotonic)


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_unchanged_files_are_the_same_object(files: TlsFiles) -> None:
    assert files.current() is files.current()


def test_a_renewed_certificate_is_read_again(files: TlsFiles, authority: Authority) -> None:
    first = files.current()
    renewed = authority.issue("server", not_after=NOT_AFTER + timedelta(days=30))
    second = files.current()
    assert second is not first
    assert second.pair is not None
    assert second.pair.certificate_chain == renewed.certificate.read_bytes()
    assert files.expires_at == NOT_AFTER + timedelta(days=30)


def test_a_renewed_ca_is_read_again(files: TlsFiles, authority: Authority, tmp_path: Path) -> None:
    both = authority.file.read_bytes() + Authority(tmp_path / "next").file.read_bytes()
    replace_file(authority.file, both)
    assert files.current().ca == both


def test_a_swapped_symbolic_link_is_noticed(authority: Authority, clock: Clock, tmp_path: Path) -> None:
    """Kubernetes replaces the link "..data", and never writes to a file of a secret."""
    for directory, name in (("one", "a"), ("two", "b")):
        issued = authority.issue(name)
        (tmp_path / directory).mkdir()
        issued.certificate.rename(tmp_path / directory / "tls.crt")
        issued.key.rename(tmp_path / directory / "tls.key")
    data = tmp_path / "..data"
    data.symlink_to("one")
    files = open_files(authority, IssuedFiles(certificate=data / "tls.crt", key=data / "tls.key"), clock)
    swapped = tmp_path / "..data_tmp"
    swapped.symlink_to("two")
    swapped.replace(data)
    pair = files.current().pair
    assert pair is not None
    assert pair.certificate_chain == (tmp_path / "two" / "tls.crt").read_bytes()


@pytest.mark.parametrize("content", [b"", b"garbage", b"-----BEGIN CERTIFICATE-----\nMIIB"])
def test_unusable_files_keep_the_last_good_pair_and_are_logged_once_per_change(
    files: TlsFiles,
    authority: Authority,
    issued: IssuedFiles,
    clock: Clock,
    content: bytes,
    caplog: pytest.LogCaptureFixture,
) -> None:
    good = files.current()
    replace_file(issued.certificate, content)
    for _ in range(3):
        assert files.current() is good
        clock.advance(seconds=2)
    (line,) = errors(caplog)
    assert "the changed TLS files of the server are not usable, the previous ones stay in use" in line
    replace_file(issued.certificate, content + b" ")
    assert files.current() is good
    assert len(errors(caplog)) == 2
    authority.issue("server")
    assert files.current() is not good


def test_a_certificate_without_its_key_is_used_when_the_key_follows(
    files: TlsFiles, authority: Authority, issued: IssuedFiles
) -> None:
    """A rotation may write the two files one after the other, with a handshake in between."""
    good = files.current()
    renewed = authority.issue("renewed")
    replace_file(issued.certificate, renewed.certificate.read_bytes())
    assert files.current() is good
    replace_file(issued.key, renewed.key.read_bytes(), mode=0o600)
    pair = files.current().pair
    assert pair is not None
    assert pair.private_key == renewed.key.read_bytes()


def test_an_expired_certificate_does_not_replace_a_good_one(
    files: TlsFiles, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    good = files.current()
    authority.issue("server", not_after=NOT_BEFORE + timedelta(days=1))
    assert files.current() is good
    assert "has expired on" in errors(caplog)[0]


def test_a_certificate_that_is_not_valid_yet_is_used_from_then_on(
    files: TlsFiles, authority: Authority, clock: Clock
) -> None:
    good = files.current()
    authority.issue("server", not_before=clock.now + timedelta(minutes=5))
    assert files.current() is good
    clock.advance(minutes=6)
    assert files.current() is not good


def test_unusable_files_at_the_start_name_the_variable(
    authority: Authority, issued: IssuedFiles, clock: Clock
) -> None:
    replace_file(issued.key, b"")
    with pytest.raises(SettingsError) as caught:
        open_files(authority, issued, clock)
    assert caught.value.lines == (f"X_TLS_KEY_FILE: {issued.key} is empty",)


def test_a_key_that_every_user_can_read_causes_a_warning(
    authority: Authority, issued: IssuedFiles, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    open_files(authority, issued, clock)
    assert warnings(caplog) == []
    issued.key.chmod(0o644)
    open_files(authority, issued, clock)
    assert warnings(caplog) == [f"X_TLS_KEY_FILE: every user of this machine can read or replace {issued.key}"]


def test_the_expiry_is_announced_once_a_day_from_14_days_before(
    files: TlsFiles, authority: Authority, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    registry = CollectorRegistry()
    monitor = CertificateMonitor((files,), drain=Drain(), registry=registry, utc_now=clock.utc_now)
    monitor.check()
    clock.now = NOT_AFTER - timedelta(days=14, seconds=1)
    monitor.check()
    assert warnings(caplog) == []
    clock.now = NOT_AFTER - timedelta(days=14)
    for _ in range(48):
        monitor.check()
        clock.advance(hours=1)
    assert len(warnings(caplog)) == 2
    assert "the TLS certificate of the server expires on" in warnings(caplog)[0]
    labels = {"use": "server"}
    assert (
        registry.get_sample_value("tls_certificate_expiry_seconds", labels) == timedelta(days=12).total_seconds()
    )
    clock.now = NOT_AFTER + timedelta(days=1)
    monitor.check()
    assert "has expired on" in warnings(caplog)[-1]
    authority.issue("server", not_after=NOT_AFTER + timedelta(days=90))
    count = len(warnings(caplog))
    clock.advance(days=2)
    monitor.check()
    assert len(warnings(caplog)) == count


def test_without_a_certificate_there_is_no_loop(authority: Authority, files: TlsFiles) -> None:
    only_ca = TlsFiles("client", TlsFilePaths(ca=authority.file))
    drain, registry = Drain(), CollectorRegistry()
    assert CertificateMonitor((only_ca,), drain=drain, registry=registry).loops() == ()
    assert len(CertificateMonitor((files,), drain=drain, registry=CollectorRegistry()).loops()) == 1
