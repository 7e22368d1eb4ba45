"""Hashing before deep learning: array estimators in scikit-learn's style.

`ITQ(bits=32).fit(X).transform(X)` gives bool (N, K); `decision_function` gives the real outputs
behind the bits, and a bit is 1 where its output is >= 0. Supervised ones are fitted with labels
too: `COSDISH(bits=32).fit(X, y)`. One file per estimator; it is imported, and scikit-learn with it,
when its class is first named.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

CLASSES = {  # class -> module
    "RandomCodes": "random_codes",
    "PCARotation": "pca_rotation",
    "LSH": "lsh",
    "SKLSH": "sklsh",
    "PCAH": "pcah",
    "SH": "sh",
    "ITQ": "itq",
    "CCAITQ": "cca_itq",
    "KSH": "ksh",
    "SDH": "sdh",
    "COSDISH": "cosdish",
}

__all__ = sorted(CLASSES)


if TYPE_CHECKING:  # a type checker sees the classes, and what is none
    from hashlab.shallow.cca_itq import CCAITQ as CCAITQ
    from hashlab.shallow.cosdish import COSDISH as COSDISH
    from hashlab.shallow.itq import ITQ as ITQ
    from hashlab.shallow.ksh import KSH as KSH
    from hashlab.shallow.lsh import LSH as LSH
    from hashlab.shallow.pca_rotation import PCARotation as PCARotation
    from hashlab.shallow.pcah import PCAH as PCAH
    from hashlab.shallow.random_codes import RandomCodes as RandomCodes
    from hashlab.shallow.sdh import SDH as SDH
    from hashlab.shallow.sh import SH as SH
    from hashlab.shallow.sklsh import SKLSH as SKLSH
else:

    def __getattr__(name: str) -> Any:
        if name not in CLASSES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{CLASSES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
