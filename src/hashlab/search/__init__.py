"""Search in codes: an index of ids, codes and metadata, exact, in memory or mapped from disk.

`combining` says what makes two codes near, `engines` scan for it (FAISS where it is installed, else
NumPy, with equal results), `index` is what they serve, with its metadata in `columns` and its files
in `store`; `groups` are near-duplicates, and `pages` is what a person sees.
"""

from hashlab.search.groups import duplicates
from hashlab.search.index import Index, edit, open_index

__all__ = ["Index", "duplicates", "edit", "open_index"]
