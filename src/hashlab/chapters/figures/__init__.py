"""Figures of single chapters; those that several share are in `hashlab.plots`."""
