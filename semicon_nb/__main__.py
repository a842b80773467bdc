"""`python -m semicon_nb` is `semicon-nb`: a file of the working folder is no more imported by the one than by the other."""

import os
import sys

sys.path[:] = [place for place in sys.path if place not in ("", os.getcwd()) or place in os.environ.get("PYTHONPATH", "").split(os.pathsep)]

from semicon_nb.cli import main

if __name__ == "__main__":
    sys.exit(main())
