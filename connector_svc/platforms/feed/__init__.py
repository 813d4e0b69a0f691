"""Reads catalogs that merchants publish themselves as signed files, in the format of docs/custom-feed.md."""

from connector_svc.platforms.feed.platform import FeedPlatform

__all__ = ["FeedPlatform"]
