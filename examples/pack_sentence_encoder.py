"""Pack a sentence encoder for a Raspberry Pi 5 and search with the finished bundle.

    python examples/pack_sentence_encoder.py MODEL [OUT]

MODEL is a sentence-transformers folder or hub id, for instance sentence-transformers/all-MiniLM-L6-v2. examples/app.py
does the same search on the device, without edgekit.
"""

from __future__ import annotations

import sys

import numpy as np

import edgekit

QUERY = "How do I reset the device?"
DOCUMENTS = [
    "The warranty covers two years from the date of purchase.",
    "Hold the power button for ten seconds to restore the factory settings.",
    "Charge the battery fully before the first use.",
]


def main(model: str, out: str = "bundles/encoder-pi5") -> None:
    packed = edgekit.pack(model, "raspberry-pi-5-8gb", out=out)
    print(f"{packed.manifest.strategy}: mean cosine {packed.report.figure('mean cosine'):.4f}")

    query, *documents = np.array(edgekit.run(packed.folder, [QUERY, *DOCUMENTS]))
    print(f"best match: {DOCUMENTS[int(np.argmax(documents @ query))]}")


if __name__ == "__main__":
    main(*sys.argv[1:3])
