"""Where a server listens."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Any, Final, Self

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

_ADDRESS: Final = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+)):(?P<port>[0-9]{1,5})")


class ListenAddress(str):
    """ "host:port", with an IPv6 address in brackets: "127.0.0.1:50051", "[::1]:50051". Port 0: any free one.

    ValueError: it is not of this form.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        parts = _parts(text)
        if parts is None:
            raise ValueError('expected host:port, such as "127.0.0.1:50051" or "[::1]:50051"')
        return super().__new__(cls, text)

    @property
    def host(self) -> str:
        """Without brackets."""
        return self._split()[0]

    @property
    def port(self) -> int:
        return self._split()[1]

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it. A name other than "localhost" counts as reachable."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host.lower() == "localhost"

    def _split(self) -> tuple[str, int]:
        parts = _parts(self)
        assert parts is not None
        return parts

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(cls, core_schema.str_schema(strip_whitespace=True))


def _parts(text: str) -> tuple[str, int] | None:
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match["port"]) > 65535:
        return None
    if match["v6"] is not None:
        try:
            ip_address(match["v6"])
        except ValueError:
            return None
    return match["v6"] or match["host"], int(match["port"])
