"""Help that a person wants to read: one screen a command, with an example."""

from __future__ import annotations

from collections.abc import Sequence

_TOP = """edgekit: pack a trained model for an edge device, and prove that it fits, runs and answers like the original

    edgekit pack MODEL --device DEVICE     choose, export, quantize, validate, write a bundle
    edgekit plan MODEL --device DEVICE     what pack would try, and what not and why; writes nothing
    edgekit distill MODEL --data FILE      a smaller model, trained to answer alike, as a model folder
    edgekit prune MODEL --data FILE        heads, channels and layers that matter least, cut out of a model
    edgekit qat MODEL --for TYPE --data F  the same model, trained for how it will be quantized
    edgekit validate BUNDLE --on TARGET    measure a bundle here, on an emulated CPU, over ssh or adb
    edgekit compare A B ...                lay bundles side by side
    edgekit run BUNDLE TEXT...             run a bundle as an app would
    edgekit demo BUNDLE                    a page that runs a bundle in your browser
    edgekit inspect MODEL|BUNDLE           what it is: task, family, tensors, files
    edgekit merge ADAPTER                  a LoRA adapter and its base as one model folder
    edgekit verify BUNDLE                  check every hash and path
    edgekit runtime LANGUAGE               write the wrapper that an app embeds: python, js, c, java, swift
    edgekit devices list|show|detect|check the device profiles
    edgekit targets list|prepare|clean     where bundles can be validated; emulated CPUs

Every command takes --json (results for machines), --debug (tracebacks) and --help (one screen, with an example).

Example:  edgekit pack sentence-transformers/all-MiniLM-L6-v2 --device raspberry-pi-5-8gb"""

_PACK = """edgekit pack MODEL [--device DEVICE] [--out DIR] [flags]

MODEL is a Hugging Face or sentence-transformers folder, a hub id, an .onnx or a .gguf file. Candidates are made and
measured in the order of `edgekit plan` until one holds every limit; nothing is written if none does.

  --device DEVICE       a name or alias of `edgekit devices list`, a TOML file, or host (default: this machine)
  --out DIR             where the bundle goes (default NAME-DEVICE here); never overwritten without --force
  --name NAME           what the bundle is called (default: as the model)
  --strategy NAME       auto, onnx-int8, onnx-fp32, gguf, distill, or one preset: gguf-Q4_K_M (default auto)
  --eval FILE           .jsonl or .csv: text; text,label; tokens,labels; image,label; text_a,text_b,score
  --calibration FILE    image,... rows to calibrate a convolution net on (default: drawn pictures)
  --data FILE           rows as for --eval, labels optional: where nothing fits by quantizing alone (or with --strategy
                        distill), a smaller model is trained on them to answer alike
  --student SHAPE       its shape, as layers=4,hidden=256, or a smaller model's folder or hub id (default: what fits)
  --budget TIME         what training it may take (default 20min)      --resume   go on with one left in OUT.training
  --learning-rate R     of that training at its highest, where the task's own diverges
  --task TASK           where the model does not say: embedding, text-classification, ...
  --revision SHA        of a hub model         --threads N       to measure with (default: the device's fast cores)
  --prefer WHAT         accuracy, speed or size (default: the most faithful quantized candidate, ties to the faster)
  --sensitivity high    for maths, code, safety: stricter limits, under five bits only where measured fidelity allows
  --base FOLDER         of a LoRA adapter, which is merged first (default: what adapter_config.json names)
  --adapters A=0.7,B    several of them with their weights; MODEL may then be the base    --combination as for merge
  --runtime LANGUAGES   wrappers for the app: python,js,c,java,swift or none (default python)
  --history DIR         where reports of earlier packs are kept, or none (default: in the user's cache folder)
limits
  --max-ram 1.5GB       (default: what the device lets an app use)     --max-disk 40MB
  --max-latency-ms 20   --min-tokens-per-s 8   --context 2048
  --max-slowdown 1.0    latency over the fp32 original's
  --min-cosine 0.98     --min-neighbours 0.9   (embeddings)            --min-agreement 0.99 (classifiers)
  --max-kl 0.1          --max-kl-p99           --min-top1 0.85         --max-perplexity-ratio (LMs)
  --max-drop 0.01       of the task metric, with --eval labels
permissions
  --allow-pickle        read pickled weights (weights only)            --trust-remote-code
  --force               replace an existing bundle; write the nearest miss, marked as failed, if none passes

Example:  edgekit pack ./my-encoder --device raspberry-pi-5-8gb --min-cosine 0.99 --out my-encoder-pi5"""

_PLAN = """edgekit plan MODEL [--device DEVICE] [flags]

Prints every candidate with its estimates, in the order `pack` would try them, and every rejection with its reason.
Only configuration and headers are read; nothing is written. This machine is measured once a week, for --device host.

  --device DEVICE    --strategy NAME    --task TASK    --revision SHA
  --prefer WHAT      accuracy, speed or size           --sensitivity high    as for pack
  --lengths 16,128,512     lengths of input, in tokens, that latency is told at
  --threads N        that the app runs (default: the device's fast cores)
  --data FILE        --student SHAPE     --budget TIME       as for pack: what a smaller model would come to
  --base FOLDER      --adapters A=0.7,B=0.3   --combination HOW     of LoRA adapters, as for pack
  --eval FILE        there is data: where nothing fits, a smaller model to be trained on it is proposed
  --history DIR      where reports of earlier packs are kept, or none
  --explain          under each candidate the measurements that its estimates lean on
limits, as for pack
  --max-ram SIZE     --max-disk SIZE    --max-latency-ms MS    --min-tokens-per-s N    --context TOKENS
  --min-cosine       --min-neighbours   --min-agreement        --min-top1              --max-slowdown
  --max-kl           --max-kl-p99       --max-drop             --max-perplexity-ratio
permissions
  --allow-pickle     --trust-remote-code

Example:  edgekit plan ./my-llama --device raspberry-pi-5-8gb --context 4096 --explain"""

_DISTILL = """edgekit distill MODEL --data FILE [--student SHAPE] [--budget TIME] [--out DIR] [flags]

Trains a smaller model to answer as MODEL does, and writes it as an ordinary Hugging Face folder, with training.json and
report.html: its loss curves, and what was lost and gained against MODEL on rows it never saw, with 95 % intervals. Rows
need no labels; at least 160 different ones are needed, thousands are better. `edgekit pack --data` does the same on its
way to a bundle, at the size that fits the device. Ctrl-C leaves a checkpoint, and says where.

  --data FILE           .jsonl or .csv: text; text,label; tokens,labels; image,label
  --student SHAPE       layers=4,hidden=256 (heads=, intermediate=), or the folder or hub id of a smaller model with the
                        same tokenizer (default: half the layers)
  --budget TIME         what training may take, by the time of its first steps: 90s, 20min, 2h (default 20min); the
                        teacher's answers before it and the measuring after it come on top
  --temperature T       that softens the teacher's classes or next tokens (default 2)
  --learning-rate R     at its highest (default 0.0006 for embeddings, 0.0005 for language models, else 0.0001)
  --seed N              of the split, the order and the student (default 0)
  --out DIR             where the student goes (default MODEL-student here); never overwritten without --force
  --resume              continue the interrupted training of that output, as if it had never stopped: same flags
  --task TASK           --revision SHA          as for pack
  --force               replace an earlier student there, and start anew
  --allow-pickle        --trust-remote-code     as for pack

Example:  edgekit distill ./my-encoder --data texts.jsonl --student layers=3 --budget 25min"""

_PRUNE = """edgekit prune MODEL --data FILE [--heads 25%] [--ffn 50%] [--layers 2] [--out DIR] [flags]

Cuts what matters least out of MODEL, lets what is left learn to answer like the whole model again, and writes a normal
Hugging Face folder with pruning.json: what went, and what that lost (before and after recovery, on rows that nothing
here has seen, with 95 % intervals) and gained. Rows need no labels; at least 160 different ones are needed.

  --data FILE           .jsonl or .csv: text; text,label; tokens,labels; image,label
  --heads 25%           of each layer's attention heads; where heads share keys, whole groups go
  --ffn 50%             of each layer's feed-forward channels
  --layers 2            how many whole layers go
  --unstructured 50%    instead: single weights to zero. A compressed file shrinks; RAM and latency do not
  --importance WHAT     taylor: the change of the loss without it (default) · activation: the energy of its output
  --recover TIME        how long it may learn afterwards, or none (default 5min)
  --learning-rate R     of that, at its highest (defaults as for distill)
  --seed N              (default 0)
  --out DIR             (default MODEL-pruned here)      --force    replace such a model there
  --task TASK           --revision SHA                   --allow-pickle     --trust-remote-code

Example:  edgekit prune ./my-encoder --data texts.jsonl --ffn 50% --layers 1 && edgekit pack my-encoder-pruned"""

_QAT = """edgekit qat MODEL --for onnx-int8|gguf-Q4_0 --data FILE [--budget TIME] [--out DIR] [flags]

Quantization-aware training: MODEL learns to answer as it does in float32 while it computes as it will be deployed, bit
for bit, and is written as an ordinary Hugging Face folder whose weights lie on the deployment's grid, with qat.json and
report.html: the curve, and how much of what rounding took came back, on rows it never saw, with a 95 % interval.
`edgekit pack` knows such a folder and prefers the type it was trained for. Rows need no labels; at least 160 different
ones do.

  --for WHAT            onnx-int8: 8-bit weights and activations (encoders) · gguf-Q4_0: 4-bit blocks (decoders, too)
  --data FILE           .jsonl or .csv: text; text,label; tokens,labels; image,label
  --device DEVICE       that it is for: where 8-bit products saturate, the weights keep 7 bits (default: this machine)
  --budget TIME         what training may take, by the time of its first steps: 90s, 20min, 2h (default 10min)
  --learning-rate R     of matrices (default 0.00001 for int8, 0.00002 for Q4_0); norms and biases take larger steps
  --seed N              of the split and the order (default 0)
  --out DIR             (default MODEL-qat-int8 or -qat-q4_0 here); never overwritten without --force
  --resume              continue the interrupted training of that output, as if it had never stopped: same flags
  --task TASK           --revision SHA                   --allow-pickle     --trust-remote-code
  --force               replace such a model there, and start anew

Example:  edgekit qat ./my-encoder --for onnx-int8 --data texts.jsonl && edgekit pack my-encoder-qat-int8"""

_VALIDATE = """edgekit validate BUNDLE [flags]

Verifies the bundle, replays its goldens, and measures load time, latency and memory in a fresh process, here or on
another target; on an emulated CPU its answers and kernels alone. Needs the source model to compare with: the one it
was packed from if it is still there unchanged, or --model. The bundle is not changed.
Exit status 31 if a limit is missed.

  --model MODEL      the original to compare with
  --eval FILE        as for pack
  --device DEVICE    hold it against another device's limits than its own
  --threads N        to measure with (default: the device's fast cores)
  --on TARGET        local (default) · device: the CPU that its profile names, emulated · emulated:CPU, as
                     emulated:cortex-a76 or emulated:Haswell · ssh:USER@HOST · adb:SERIAL; see edgekit targets --help
  --html FILE        write the report as a page     --save FILE    as JSON, for `edgekit compare`
  --force            replace those files if they exist
  --history DIR      where the report is added to, or none, as for pack
  --allow-pickle     --trust-remote-code     for the original, as for pack

Example:  edgekit validate my-encoder-pi5 --html report.html"""

_COMPARE = """edgekit compare A B ... [--reports FILE,...] [--html FILE] [flags]

Lays bundles of one model side by side: every figure with its verdict, the best of each row, and which of them no other
beats in fidelity, speed and size at once. A and B are bundle folders, whose hashes are checked first, or reports that
`edgekit validate --save` wrote. Latencies of different machines are never put on one scale.

  --reports FILE,... reports of these bundles from other targets, as further columns
  --html FILE        write a page with charts       --force    replace it if it exists

Example:  edgekit compare encoder-int8 encoder-fp32 --html compare.html"""

_RUN = """edgekit run BUNDLE TEXT... [flags]

Embeddings: the cosine similarities of several texts, or the first values of one. Classifiers: labels with scores
(give picture paths to an image model). Language models: streams an answer; a chat model through its template.

  --threads N        --max-tokens N (default 256, or what the context leaves)

Example:  edgekit run my-encoder-pi5 "a cat on a mat" "a kitten on a rug" """

_DEMO = """edgekit demo BUNDLE [flags]

Serves a page on this machine, and on no other, that runs the bundle in your browser: similar sentences, labels, a chat.
It shows what was measured when the bundle was packed beside what is measured in the page, and replays the goldens
there. The engines for browsers come from npm's registry the first time (Node.js 20 or newer, with npm) and are kept in
$EDGEKIT_NODE, or else in edgekit/node in the user's cache folder; from then on no network is needed. Ctrl-C ends it.

  --port N           (default: one that is free)
  --open             show it in a browser       --no-open    do not (default: if there is a terminal and a screen)
  --host ADDRESS     listen there instead of on 127.0.0.1: whoever reaches it can fetch the whole bundle
  --export DIR       write the page, with the bundle, as files for a server of your own, and serve nothing
  --force            replace what --export wrote there before

Example:  edgekit demo my-encoder-pi5"""

_INSPECT = """edgekit inspect MODEL|ADAPTER|BUNDLE [--revision SHA] [--allow-pickle] [--trust-remote-code]

What it is, on what evidence, and what follows for deployment: task, kind (base, chat, instruct, their QAT variants,
LoRA or QLoRA adapter, embedding, classifier), parameters, stored types, labels, licence. An adapter's base need not be
there. For a bundle its whole manifest, after verifying it.

Example:  edgekit inspect ./my-llama --json"""

_MERGE = """edgekit merge ADAPTER [--out DIR] [flags]

Writes a LoRA adapter (also rsLoRA, DoRA, QLoRA) and its base as one model folder, in the base's own types and shards, a
block of rows in memory at a time. `edgekit pack ADAPTER` does the same on its way, in a temporary folder. ADAPTER is a
folder or a hub id with an adapter_config.json. Exit status 34 if it does not belong to the base or cannot be merged.

  --out DIR          where the model goes (default ADAPTER-merged here)
  --base MODEL       a folder or hub id, in full precision (default: what adapter_config.json names)
  --adapters A=0.7,B=0.3     several adapters with their weights; ADAPTER is then one of them, one more, or their base
  --combination HOW  cat: their products are added up (default); linear: their factors are, as PEFT's "linear"
  --revision SHA     of an adapter from the hub      --force    replace such a folder, and no other
  --allow-pickle     --trust-remote-code     as for pack

Example:  edgekit merge ./my-lora --base ./my-llama --out my-llama-tuned"""

_VERIFY = """edgekit verify BUNDLE

Checks the manifest's schema, every path, size and SHA-256, and that nothing else lies in the folder.
Exit status 27 if anything is wrong.

Example:  edgekit verify my-encoder-pi5"""

_RUNTIME = """edgekit runtime LANGUAGE [--out DIR] [--force]

Writes the wrapper that an app embeds into a folder of its own, as `edgekit pack --runtime` puts it into a bundle: for
apps that fetch their bundles later. LANGUAGE is python, js, c, java or swift. Each folder's README.md starts with the
lines that use it.

  --out DIR          where it goes (default edgekit-LANGUAGE here)
  --force            replace such a wrapper there; never a folder that holds anything else

Example:  edgekit runtime js --out app/vendor/edgekit"""

_DEVICES = """edgekit devices list             every profile
edgekit devices show NAME        one profile as TOML, with the status and source of each figure
edgekit devices detect           a profile of this machine; bandwidth, fp32 and int8 speed are measured
edgekit devices check FILE       what is wrong with a profile, line by line

Example:  edgekit devices detect > my-box.toml && edgekit devices check my-box.toml"""

_TARGETS = """edgekit targets list                      where a bundle can be validated, and whether that is ready
edgekit targets prepare [WHAT ...]        fetch and build, once, what emulated CPUs need
edgekit targets clean [NAME]              remove that again: qemu, an architecture or one of its engines; of
                                          ssh:USER@HOST or adb:SERIAL what was copied there

WHAT is an architecture (aarch64, x86_64), a CPU (cortex-a76) or a device (raspberry-pi-5-8gb); nothing means all.
Needs apt and pip, not root. An emulated CPU shows that a bundle starts there, what it answers and which kernels it
picks; never its speed. All lies in $EDGEKIT_TARGETS, or else in edgekit/targets in the user's cache folder.

  --engine NAME      onnxruntime (default), llama.cpp (compiled here: minutes, needs a compiler) or all
  --download DIR     only fetch, into DIR           --from DIR    prepare from that, without a network
  --mirror URL       of Debian's archive            --force       prepare anew what is there

Example:  edgekit targets prepare aarch64 && edgekit validate my-encoder-pi5 --on emulated:cortex-a76"""

_PAGES = {
    "pack": _PACK,
    "plan": _PLAN,
    "distill": _DISTILL,
    "prune": _PRUNE,
    "qat": _QAT,
    "validate": _VALIDATE,
    "compare": _COMPARE,
    "run": _RUN,
    "demo": _DEMO,
    "inspect": _INSPECT,
    "merge": _MERGE,
    "verify": _VERIFY,
    "runtime": _RUNTIME,
    "devices": _DEVICES,
    "targets": _TARGETS,
}


def page(words: Sequence[str]) -> str:
    """The page for a command; the overview for none, or for a word that is no command."""
    return _PAGES.get(words[0], _TOP) if words else _TOP
