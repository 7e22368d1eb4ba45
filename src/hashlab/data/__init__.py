"""Data sets, their cache on disk, and the named protocols that split them.

data = hashlab.data.load("mnist", protocol="mnist-full")
data.train.images     # uint8 (60000, 28, 28)
data.query.labels     # int64 (10000,)
data.tuning()         # the same shape of object, for choosing settings: queries choose nothing
"""

from hashlab.data.opening import load
from hashlab.data.parts import Dataset, Labelled, Part
from hashlab.data.sets import SETS, SetInfo, info, names

__all__ = ["SETS", "Dataset", "Labelled", "Part", "SetInfo", "info", "load", "names"]
