"""Custom feed connector: reads catalogs that merchants publish as signed files, format docs/custom-feed.md."""

from connector_svc.platforms.feed.platform import FeedPlatform

__all__ = ["FeedPlatform"]
