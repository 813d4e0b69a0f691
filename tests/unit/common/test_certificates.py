"""Unusable certificate files are found before gRPC gets them, and no message quotes a key."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from catalogsync_common.certificates import TlsFileInvalid, is_readable_by_others, read_ca_bundle, read_key_pair
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from tests.tls import NOT_AFTER, NOT_BEFORE, Authority, IssuedFiles, replace_file

NOW = NOT_BEFORE + timedelta(days=2)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "tls")


@pytest.fixture
def issued(authority: Authority) -> IssuedFiles:
    return authority.issue("server", dns=("catalog.internal",))


def problem(certificate: Path, key: Path, *, days: int = 2) -> str:
    """Return the error of a pair that cannot be used `days` after NOT_BEFORE."""
    with pytest.raises(TlsFileInvalid) as caught:
        read_key_pair(certificate, key, now=NOT_BEFORE + timedelta(days=days))
    message = str(caught.value)
    assert str(caught.value.file) in message
    assert "PRIVATE" not in message
    return message


def test_a_pair_is_read_with_its_expiry_and_its_repr_has_no_key(issued: IssuedFiles) -> None:
    pair = read_key_pair(issued.certificate, issued.key, now=NOW)
    assert pair.expires_at == NOT_AFTER
    assert pair.private_key == issued.key.read_bytes()
    assert "KEY" not in repr(pair)


def test_a_chain_expires_with_its_first_valid_certificate(authority: Authority) -> None:
    issued = authority.issue("server", not_after=NOT_AFTER + timedelta(days=9))
    old = authority.issue("old", not_after=NOT_BEFORE + timedelta(hours=1))
    chain = (file.read_bytes() for file in (issued.certificate, authority.file, old.certificate))
    replace_file(issued.certificate, b"".join(chain))
    assert read_key_pair(issued.certificate, issued.key, now=NOW).expires_at == NOT_AFTER


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda content: b"", "is empty"),
        (lambda content: b"garbage", "does not contain complete PEM certificates"),
        (lambda content: content[: len(content) // 2], "does not contain complete PEM certificates"),
        (lambda content: content + content[: len(content) // 2], "does not contain complete PEM certificates"),
        (lambda content: b"x" * (2 << 20), "is larger than 1048576 bytes"),
    ],
)
def test_an_unusable_certificate_file_is_named(
    issued: IssuedFiles, damage: Callable[[bytes], bytes], expected: str
) -> None:
    replace_file(issued.certificate, damage(issued.certificate.read_bytes()))
    assert problem(issued.certificate, issued.key) == f"{issued.certificate} {expected}"


def test_an_unusable_key_file_is_named(issued: IssuedFiles) -> None:
    content = issued.key.read_bytes()
    replace_file(issued.key, content[: len(content) // 2])
    assert problem(issued.certificate, issued.key) == f"{issued.key} does not contain a PEM private key"


def test_an_encrypted_key_is_named(issued: IssuedFiles) -> None:
    encrypted = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"passphrase"),
    )
    replace_file(issued.key, encrypted)
    assert "is encrypted" in problem(issued.certificate, issued.key)


def test_a_missing_file_is_named(issued: IssuedFiles) -> None:
    issued.key.unlink()
    assert problem(issued.certificate, issued.key) == f"{issued.key} cannot be read: No such file or directory"


def test_the_key_of_another_certificate_is_refused(authority: Authority, issued: IssuedFiles) -> None:
    other = authority.issue("other")
    assert "is not the key of the first certificate" in problem(issued.certificate, other.key)


@pytest.mark.parametrize(("days", "expected"), [(-1, "is not valid before"), (90, "has expired on")])
def test_a_certificate_outside_of_its_validity_is_refused(issued: IssuedFiles, days: int, expected: str) -> None:
    assert expected in problem(issued.certificate, issued.key, days=days)


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(ed25519.Ed25519PrivateKey.generate(), id="ed25519"),
        pytest.param(ec.generate_private_key(ec.SECP521R1()), id="p521"),
        pytest.param(rsa.generate_private_key(65537, 1024), id="rsa1024"),
    ],
)
def test_keys_with_which_handshakes_of_grpc_fail_are_refused(
    authority: Authority, key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
) -> None:
    issued = authority.issue("server", key=key)
    assert "use ECDSA P-256 or P-384, or RSA with 2048 bits" in problem(issued.certificate, issued.key)


def test_a_ca_bundle_must_contain_certificates(authority: Authority, tmp_path: Path) -> None:
    assert read_ca_bundle(authority.file) == authority.file.read_bytes()
    broken = tmp_path / "broken.pem"
    broken.write_bytes(authority.file.read_bytes()[:-40])
    with pytest.raises(TlsFileInvalid, match=r"broken\.pem does not contain complete PEM certificates"):
        read_ca_bundle(broken)


@pytest.mark.parametrize(("mode", "expected"), [(0o600, False), (0o640, False), (0o644, True), (0o602, True)])
def test_a_key_that_every_user_can_read_is_found(issued: IssuedFiles, mode: int, expected: bool) -> None:
    issued.key.chmod(mode)
    assert is_readable_by_others(issued.key) is expected
