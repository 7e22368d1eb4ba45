"""Deep image hashing: five papers, one protocol, reproducible results."""

__version__ = "0.1.0"
