"""``python -m nkscore.cli``."""

from __future__ import annotations

import sys

from nkscore.cli._main import main

if __name__ == "__main__":
    sys.exit(main())
