"""A bundle's README.md: how to run it, in five lines for each language whose wrapper is in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from edgekit.manifest import Manifest
from edgekit.report import Report
from edgekit.runtimes import LANGUAGES

# What a session is asked for, by the task ("chat": of a chat model), in each language.
_CALLS: Mapping[str, Mapping[str, str]] = {
    "python": {
        "embedding": 'session.embed(["first text", "second text"])  # float32 [2, width]',
        "text-classification": 'session.classify(["a text"])  # per text: [{"label", "score"}], best first',
        "token-classification": 'session.classify(["a text"])  # per text: one {"start", "end", "label", ...} a token',
        "image-classification": 'session.classify(["photo.jpg"])  # per picture: [{"label", "score"}], best first',
        "causal-lm": 'for piece in session.generate("Once upon", max_tokens=64): print(piece, end="")',
        "chat": 'for piece in session.chat([{"role": "user", "content": "Hello"}]): print(piece, end="")',
        "tensors": "session.run({name: array})  # see inputs and outputs in edgekit.json",
    },
    "js": {
        "embedding": 'const vector = await session.embed("a text"); // Float32Array',
        "text-classification": 'const labels = await session.classify("a text"); // [{label, score}], best first',
        "token-classification": 'const labels = await session.classify("a text"); // one {start, end, label} a token',
        "image-classification": "const labels = await session.classify(imageData); // [{label, score}], best first",
        "causal-lm": 'for await (const text of session.generate("Once upon", { maxTokens: 64 })) console.log(text);',
        "chat": 'for await (const text of session.chat([{ role: "user", content: "Hello" }])) console.log(text);',
        "tensors": "const outputs = await session.run({ name: { dtype, shape, data } }); // see edgekit.json",
    },
    "c": {
        "embedding": 'float vector[WIDTH]; edgekit_embed(session, "a text", vector, WIDTH, &error);',
        "text-classification": 'edgekit_labels *labels; edgekit_classify(session, "a text", NULL, &labels, &error);',
        "token-classification": 'edgekit_labels *labels; edgekit_classify(session, "a text", NULL, &labels, &error);',
        "image-classification": "edgekit_labels *labels; "
        "edgekit_classify_pixels(session, rgb, height, width, &labels, &error);",
        "causal-lm": 'edgekit_generate(session, "Once upon", NULL, on_text, NULL, &error); // on_text: a callback',
        "chat": 'edgekit_message hello = {"user", "Hello"}; '
        "edgekit_chat(session, &hello, 1, NULL, on_text, NULL, &error);",
        "tensors": "edgekit_outputs *outputs; edgekit_run(session, inputs, input_count, &outputs, &error);",
    },
    "java": {
        "embedding": 'float[] vector = session.embed("a text");',
        "text-classification": 'List<Label> labels = session.classify("a text"); // best first',
        "token-classification": 'List<Label> labels = session.classify("a text"); // one a token',
        "image-classification": "List<Label> labels = session.classify(pixels); // best first",
        "causal-lm": 'session.generate("Once upon", new GenerateOptions().maxTokens(64), text -> show(text));',
        "chat": 'session.chat(Collections.singletonList(Message.user("Hello")), new GenerateOptions(), t -> show(t));',
        "tensors": "Map<String, Tensor> outputs = session.run(inputs);",
    },
    "swift": {
        "embedding": 'let vector = try session.embed("a text")',
        "text-classification": 'let labels = try session.classify("a text")  // best first',
        "token-classification": 'let labels = try session.classify("a text")  // one a token',
        "image-classification": "let labels = try session.classify(pixels)  // best first",
        "causal-lm": 'for try await text in session.generate("Once upon") { print(text, terminator: "") }',
        "chat": 'for try await text in session.chat([Message(.user, "Hello")]) { print(text, terminator: "") }',
        "tensors": "let outputs = try session.run(inputs)",
    },
}
_PYPI = {"onnxruntime": "numpy onnxruntime", "llama.cpp": "numpy llama-cpp-python"}
_NPM = {"onnxruntime": ("onnxruntime-node", "onnxruntime-web"), "llama.cpp": ("node-llama-cpp", "@wllama/wllama@2")}
_COPY_FIRST = """The wrappers in runtime/ are there to be copied into an app. Build them in the copy: a bundle
that holds a file more than was packed is refused.

"""
_LIBRARY = {"onnxruntime": "libonnxruntime.so", "llama.cpp": "libllama.so"}


def text(draft: Manifest, report: Report, folder: Path) -> str:
    """Markdown. `folder` is the bundle's: the wrappers that lie in it are those that are told of."""
    there = [language for language in LANGUAGES if (folder / "runtime" / language).is_dir()]
    kind = "chat" if draft.kind == "chat" and draft.task == "causal-lm" else draft.task
    sections = [_SECTIONS[language](draft, _CALLS[language][kind]) for language in there]
    if not sections:
        sections = ["This bundle carries no wrapper: `edgekit runtime LANGUAGE` writes one, of " + _listed() + ".\n"]
    notice = _COPY_FIRST if {*there} - {"python"} else ""
    return f"""# {draft.name}

{draft.strategy} for {draft.device.title}, packed by edgekit {draft.provenance.tools["edgekit"]}.
Validation: {report.status}.
(report.html shows every figure; report.json has the same for machines).

{notice}{chr(10).join(sections)}"""


def _listed() -> str:
    return ", ".join(LANGUAGES)


def _python(draft: Manifest, call: str) -> str:
    argument = "" if draft.task == "tensors" else " photo.jpg" if draft.task == "image-classification" else ' "a text"'
    further = " tokenizers" if draft.text and draft.text.tokenizer else ""
    further += " jinja2" if draft.generation and draft.generation.chat_template else ""
    further += " pillow" if draft.task == "image-classification" else ""
    return f"""## Command line

    pip install {_PYPI[draft.engine]}{further}
    python runtime/python/run.py{argument}

## Python

    import sys; sys.path.insert(0, "runtime/python")
    import edgekit_runtime as rt
    with rt.open(".") as session:
        {call}
"""


def _js(draft: Manifest, call: str) -> str:
    node, page = _NPM[draft.engine]
    return f"""## JavaScript (in a page with {page}: runtime/js/README.md)

    cp -r runtime/js APP/edgekit && cd APP && npm install --install-links --ignore-scripts ./edgekit {node}
    import {{ open }} from "edgekit-runtime"; // in a module: app.mjs
    const session = await open("path/to/bundle");
    {call}
    await session.close();
"""


def _c(draft: Manifest, call: str) -> str:
    width = draft.embedding.width if draft.embedding else 0
    return f"""## C (cc -std=c11 -Iedgekit app.c edgekit/edgekit.c -ldl -lpthread -lm; edgekit/: a copy of runtime/c)

    edgekit_session *session = NULL; edgekit_error error; edgekit_options options; edgekit_options_init(&options);
    options.engine_library = "path/to/{_LIBRARY[draft.engine]}"; // NULL: where the system's loader finds it
    if (edgekit_open("path/to/bundle", &options, &session, &error)) return puts(error.message);
    {call.replace("WIDTH", str(width))}
    edgekit_free(session);
"""


def _java(draft: Manifest, call: str) -> str:
    return f"""## Java, Kotlin and Android

    import dev.edgekit.*; import java.util.*; // settings.gradle.kts, with the copy in edgekit/: include(":edgekit")
    OpenOptions options = new OpenOptions().engineLibrary("{_LIBRARY[draft.engine]}");
    try (Session session = Edgekit.open("path/to/bundle", options)) {{
        {call}
    }}
"""


def _swift(draft: Manifest, call: str) -> str:
    del draft
    return f"""## Swift

    // Of the copy, in Package.swift: .package(path: "edgekit"); how the engine comes along: edgekit/README.md
    import Edgekit
    let session = try Session.open("path/to/bundle")
    {call}
    session.close()
"""


_SECTIONS: Mapping[str, Callable[[Manifest, str], str]] = {
    "python": _python,
    "js": _js,
    "c": _c,
    "java": _java,
    "swift": _swift,
}
