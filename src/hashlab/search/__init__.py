"""Search in codes: an index of ids, codes and metadata, exact, in memory or mapped from disk, or in
Milvus.

`Index` makes one in memory, and its `save` puts it on disk; `open_index` opens what is there, in a
folder or in Milvus; `edit` changes an index on disk. `duplicates` finds items that are nearly the same.
"""

from hashlab.search.groups import duplicates
from hashlab.search.index import Index, edit
from hashlab.search.opening import Searched, open_index
from hashlab.search.shards import load_shards

__all__ = ["Index", "Searched", "duplicates", "edit", "load_shards", "open_index"]
