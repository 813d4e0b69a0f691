"""Custom feed connector: reads catalogs that merchants publish as signed files, format docs/custom-feed.md."""

from connector_svc.platforms.base import PlatformDefinition
from connector_svc.platforms.feed.platform import FeedPlatform

__all__ = ["FEED", "FeedPlatform"]

FEED = PlatformDefinition(
    name=FeedPlatform.name,
    create=lambda deps: FeedPlatform(deps.http, deps.credentials, deps.clock),
)
