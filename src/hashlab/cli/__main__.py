"""`python -m hashlab.cli` is the command `hashlab`."""

import sys

from hashlab.cli import main

if __name__ == "__main__":
    sys.exit(main())
