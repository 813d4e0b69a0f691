"""The platforms of a process, by name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from catalogsync_common.failure import InvalidRequest

from connector_svc.platforms.base import Platform


class Platforms:
    """Finds a platform."""

    def __init__(self, platforms: Iterable[Platform]) -> None:
        self._by_name = {platform.name: platform for platform in sorted(platforms, key=lambda p: p.name)}

    def all(self) -> Sequence[Platform]:
        """Sorted by name."""
        return tuple(self._by_name.values())

    def named(self, name: str) -> Platform:
        """The platform of that name. Raises InvalidRequest that says which there are."""
        platform = self._by_name.get(name)
        if platform is not None:
            return platform
        if name.strip().lower() in self._by_name:
            text = f"must be written {name.strip().lower()!r}, in lower case and without blanks"
        else:
            text = f"{'must be' if name else 'is required,'} one of: {', '.join(self._by_name)}"
        raise InvalidRequest.of("shop.platform", text)
