"""Historical files as inputs of a replay: recognised by content, read as columns.

``recognise(path)`` tells what a file or a folder is; ``open`` on the result gives a reader of batches in the order
of time. Rows that cannot be used are quarantined with their reason and counted, never dropped in silence.
"""

from connectors.archives.archive import Archive, recognise, recognise_all
from connectors.archives.reader import NEVER_US, ArchiveReader, Options

__all__ = ["NEVER_US", "Archive", "ArchiveReader", "Options", "recognise", "recognise_all"]
