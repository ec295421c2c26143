"""Pack a sentence encoder for a Raspberry Pi 5 and search with the bundle's own runtime.

    python examples/pack_sentence_encoder.py MODEL [OUT]

MODEL is a sentence-transformers folder or hub id, for instance sentence-transformers/all-MiniLM-L6-v2.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import edgekit

DOCUMENTS = [
    "Hold the reset button for ten seconds to restore the factory settings.",
    "The warranty covers two years from the date of purchase.",
    "Charge the battery fully before the first use.",
]


def main(model: str, out: str = "bundles/encoder-pi5") -> None:
    packed = edgekit.pack(model, "raspberry-pi-5-8gb", out=out)
    print(f"{packed.manifest.strategy}: mean cosine {packed.report.figure('mean cosine'):.4f}")

    sys.path.insert(0, str(Path(out) / "runtime"))  # an app has this folder beside it
    import edgekit_runtime as rt

    with rt.open(out) as session:
        documents = session.embed(DOCUMENTS)
        query = session.embed(["How do I reset the device?"])[0]
    best = int(np.argmax(documents @ query))
    print(f"best match: {DOCUMENTS[best]}")


if __name__ == "__main__":
    main(*sys.argv[1:3])
