"""Pack a small chat model as GGUF for a Raspberry Pi 5 and stream an answer from the bundle.

    python examples/pack_chat_model.py MODEL [OUT]

MODEL is a folder or hub id of a Llama, Mistral, Qwen, Gemma, Phi or SmolLM model with a chat template, for instance
HuggingFaceTB/SmolLM2-135M-Instruct. examples/app.py asks the same bundle on the device, without edgekit.
"""

from __future__ import annotations

import sys

import edgekit
from edgekit import Limits

# Tokens per second are the Pi's to tell (`edgekit validate` there): how much faster than fp32 this machine is, is not.
LIMITS = Limits(context_tokens=512, max_slowdown=100)


def main(model: str, out: str = "bundles/chat-pi5") -> None:
    packed = edgekit.pack(model, "raspberry-pi-5-8gb", out=out, limits=LIMITS)
    kl, top1 = packed.report.figure("mean KL"), packed.report.figure("top-1 agreement")
    print(f"{packed.manifest.strategy}: mean KL {kl:.4f}, top-1 agreement {top1:.3f}")

    for piece in edgekit.run(packed.folder, ["What is a list?"], max_tokens=48):
        print(piece, end="", flush=True)
    print()


if __name__ == "__main__":
    main(*sys.argv[1:3])
