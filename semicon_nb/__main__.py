"""`python -m semicon_nb` is `semicon-nb`."""

import sys

from semicon_nb.cli import main

if __name__ == "__main__":
    sys.exit(main())
