"""Backbones with named levels, the weights that they start from, and their features::

    networks.names()                            # our own, torchvision's, and those that are registered
    networks.levels("resnet18", (224, 224, 3))  # what it gives on the way
    networks.levels("timm/convnext_atto", (224, 224, 3))  # any network of timm's
    networks.register("mine", make)             # an nn.Module of your own

`create` makes any of them a `Backbone`, which gives its levels to whoever asks.
"""

from hashlab.networks.backbones import Backbone, Level, create, levels, names, register

__all__ = ["Backbone", "Level", "create", "levels", "names", "register"]
