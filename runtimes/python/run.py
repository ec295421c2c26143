"""Run the bundle this file lies in: `python runtime/python/run.py "text"`. See `--help`."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from edgekit_runtime.__main__ import main  # noqa: E402 - found by the line above

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], bundle=HERE.parents[1]))
