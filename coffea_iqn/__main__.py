"""`python -m coffea_iqn`: the command line, where the scripts of an environment are not on the path."""

from __future__ import annotations

import sys

from coffea_iqn.cli import main

if __name__ == "__main__":
    sys.exit(main())
