"""`python -m edgekit`, and what `accelerate launch -m edgekit` and torchrun start."""

import sys

from edgekit.cli import main

if __name__ == "__main__":
    sys.exit(main())
