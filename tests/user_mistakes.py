"""Slips that a type checker finds in what people write with hashlab: see test_types.py."""

import numpy as np

import hashlab
from hashlab import codes, data, experiments, methods, metrics, records, shallow

bits = np.zeros((4, 8), bool)
print(hashlab.kitchen)  # slip
hashlab.data.lod("digits")  # slip
print(shallow.ITQQ)  # slip
data.load("digits", "digits")  # slip
data.load(b"digits")  # slip
methods.create("itq", bits="16")  # slip
methods.create("itq", bits=16).fit(bits)  # slip
methods.create("itq", bits=16).fit(data.load("digits"))  # slip
methods.load(3)  # slip
codes.pack([[True, False]])  # slip
codes.unpack(bits)  # slip
metrics.evaluate(bits, bits, [0])  # slip
print(metrics.evaluate(bits, bits, [0], [0], bits=8).mapp)  # slip
records.load(3)  # slip
experiments.run("itq", 3, 16)  # slip
experiments.run("itq", "digits", 16, root=3)  # slip
