"""The canonical form of a shop's domain, the same in requests and in the tokens that are compared with them."""

from __future__ import annotations

import re
from typing import Final

_LABEL: Final = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_HOST_NAME: Final = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})+")


def canonical_host_name(text: str) -> str | None:
    """Return the host name in lower case and without a final dot; None if the text is no host name with a dot.

    Letters beyond ASCII are refused before lower case could turn one into ASCII, as it does with the Kelvin sign.
    """
    host_name = text.lower().removesuffix(".")
    return host_name if text.isascii() and _HOST_NAME.fullmatch(host_name) else None
