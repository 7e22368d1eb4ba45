"""Search in codes: an index of ids, codes and metadata, exact, in memory or mapped from disk, or in
Milvus.

`combining` says what makes two codes near, `engines` scan for it (FAISS where it is installed, else
NumPy, with equal results), `index` is what they serve, with its metadata in `columns` and its files
in `store`; `milvus` is the same in a collection of Milvus, whose `servers` it asks; `opening` finds
either by its address, and `shards` are Parquet files that fill them. `given` reads ids and numbers.
`groups` are near-duplicates, and `pages` is what a person sees.
"""

from hashlab.search.groups import duplicates
from hashlab.search.index import Index, edit
from hashlab.search.opening import Searched, open_index
from hashlab.search.shards import load as load_shards

__all__ = ["Index", "Searched", "duplicates", "edit", "load_shards", "open_index"]
