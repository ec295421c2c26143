"""Pack a small chat model as GGUF and stream an answer from the bundle.

    python examples/pack_chat_model.py MODEL [OUT]

MODEL is a folder or hub id of a Llama, Mistral, Qwen, Gemma, Phi or SmolLM model with a chat template, for instance
HuggingFaceTB/SmolLM2-135M-Instruct.
"""

from __future__ import annotations

import sys
from pathlib import Path

import edgekit
from edgekit import Limits


def main(model: str, out: str = "bundles/chat-pi5") -> None:
    packed = edgekit.pack(model, "raspberry-pi-5-8gb", out=out, limits=Limits(context_tokens=512))
    kl, top1 = packed.report.figure("mean KL"), packed.report.figure("top-1 agreement")
    print(f"{packed.manifest.strategy}: mean KL {kl:.4f}, top-1 agreement {top1:.3f}")

    sys.path.insert(0, str(Path(out) / "runtime"))
    import edgekit_runtime as rt

    with rt.open(out) as session:
        for piece in session.chat([{"role": "user", "content": "What is a list?"}], max_tokens=48):
            print(piece, end="", flush=True)
    print()


if __name__ == "__main__":
    main(*sys.argv[1:3])
