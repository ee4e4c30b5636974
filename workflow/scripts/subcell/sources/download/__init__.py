"""Files from the web: politely, verified, never twice."""

from subcell.sources.download.cache import Cache, Record
from subcell.sources.download.files import Downloader, Unreachable
from subcell.sources.download.transfer import Failed, Limits, host_of

__all__ = ["Cache", "Downloader", "Failed", "Limits", "Record", "Unreachable", "host_of"]
