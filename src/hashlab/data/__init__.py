"""Data sets, their cache on disk, and the named protocols that split them::

    data = hashlab.data.load("mnist", protocol="mnist-full")
    data.train.images     # uint8 (60000, 28, 28)
    data.query.labels     # int64 (10000,)
    data.tuning()         # the same shape of object, for choosing settings: queries choose nothing

`from_folder` and `from_arrays` make such data of your own images or features.
"""

from hashlab.data.opening import info, load, names
from hashlab.data.own import from_arrays, from_folder
from hashlab.data.parts import Dataset, Labelled, Part
from hashlab.data.sets import SETS, SetInfo

__all__ = [
    "SETS",
    "Dataset",
    "Labelled",
    "Part",
    "SetInfo",
    "from_arrays",
    "from_folder",
    "info",
    "load",
    "names",
]
