"""Which file of a manifest a pass reads."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from connector_svc.platforms.feed.position import Position
from connector_svc.platforms.feed.wire import DeltaFile, FeedFile, Manifest


@dataclass(frozen=True, slots=True)
class Choice:
    """A file, and why it."""

    file: FeedFile
    delta: bool
    reason: str

    def position(self, manifest: Manifest) -> Position:
        """The beginning of a pass over it."""
        file = self.file
        plain = FeedFile(**{name: getattr(file, name) for name in FeedFile.__struct_fields__})
        return Position(
            file=plain,
            delta=self.delta,
            generated_at=manifest.generated_at.astimezone(UTC),
            currency=manifest.currency,
        )


def choose(manifest: Manifest, updated_after: datetime | None) -> Choice:
    """The shortest delta that reaches back to `updated_after`, else the full file."""
    if updated_after is None:
        return Choice(manifest.full, False, "the full file")
    reaching: list[DeltaFile] = [delta for delta in manifest.deltas if delta.since <= updated_after]
    if not reaching:
        return Choice(manifest.full, False, "the full file: no delta reaches back far enough")
    delta = max(reaching, key=lambda one: one.since)
    return Choice(delta, True, f"the delta since {delta.since.astimezone(UTC).isoformat()}")
