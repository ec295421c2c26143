"""ONNX Runtime strategies: export to float32, quantize to int8.

    fp32, int8     the strategies: propose and make
    eligible       what can become an ONNX bundle at all
    estimate       bytes, RAM and latency before anything is made: the terms, by
                   disk, memory, encode; from shapes, pixels (of convolution nets) and vocabulary (of tokenizers)
    float_graph    the float32 graph of any source: exported from torch, or the user's own file
    export, pool   torch -> ONNX; pooling and normalisation as graph nodes
    inputs         input tensors to trace, to check and to calibrate with
    parity         the exported graph against torch
    quantize       dynamic int8; static QDQ for convolution nets (calibrate: where activation ranges come from)
    graph          reading, checking and writing ONNX files (external: weights kept beside them)
    engine         importing onnx, onnxruntime and optimum

The graphs stay in standard ONNX operators. ONNX Runtime fuses attention, GELU and layer norms when it loads them;
fusing beforehand with its transformer optimizer was measured on all-MiniLM-L6-v2 and is 3-11 % slower, in fp32 and in
int8, at 16 and at 128 tokens, and its default mask form answers left-padded input wrongly.
"""
