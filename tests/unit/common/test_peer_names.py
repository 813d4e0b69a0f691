"""Refused clients are logged with the names that they have, but not as often as they try."""

from __future__ import annotations

import logging
from typing import Any, cast

import pytest
from catalogsync_common.peer_names import PeerNames, PeerNotAllowed


class Call:
    """The context of a call, of a client with these DNS names."""

    def __init__(self, *names: bytes) -> None:
        self._names = names

    def auth_context(self) -> dict[str, Any]:
        return {"peer_dns": self._names, "x509_subject_alternative_name": self._names} if self._names else {}

    def peer(self) -> str:
        return "ipv4:10.0.0.7:40000"


class Clock:
    """A clock that the test sets."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


def refuse(names: PeerNames, call: Call) -> None:
    with pytest.raises(PeerNotAllowed):
        names.check_peer(cast("Any", call))


def test_a_refused_client_is_logged_with_its_names_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    names = PeerNames(("catalog.internal",), monotonic=clock.monotonic)
    names.check_peer(cast("Any", Call(b"Catalog.internal")))
    assert caplog.records == []
    for _ in range(100):
        refuse(names, Call(b"other.internal", b"x" * 5000))
    (record,) = caplog.records
    assert (record.levelno, vars(record)["peer"]) == (logging.WARNING, "ipv4:10.0.0.7:40000")
    found = vars(record)["certificate_names"]
    assert found.startswith("other.internal, xxx")
    assert len(found) == 300
    clock.now += 60
    refuse(names, Call())
    assert len(caplog.records) == 2


def test_without_tls_nobody_is_accepted() -> None:
    refuse(PeerNames(("catalog.internal",)), Call())
