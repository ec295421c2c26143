"""Which kernels ran, told from qemu's listing."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st

from edgekit.targets import kernels
from edgekit.targets.kernels import Listing, library_ranges

ARM = """----------------
IN:
0x00001000:  6f84e010  udot     v16.4s, v0.16b, v4.4b[0]
0x00001004:  6fa4e012  udot     v18.4s, v0.16b, v4.4b[1]
0x00001008:  6f84e814  udot     v20.4s, v0.16b, v4.4b[2]
0x0000100c:  6f84e814  udot     v21.4s, v0.16b, v4.4b[2]
0x0000100c:  6f84e814  udot     v21.4s, v0.16b, v4.4b[2]
0x00009000:  6f84e814  udot     v21.4s, v0.16b, v4.4b[2]
0x00001010:  9b217c61  smull    x1, w3, w1
0x00001014:  0e217c61  smull    v1.8h, v3.8b, v1.8b
"""
X86 = """0x00002000:  c5 fd f5 c1              vpmaddwd %ymm1, %ymm0, %ymm0
0x00002004:  c4 e2 7d 04 c1           vpmaddubsw %ymm1, %ymm0, %ymm0
0x00002009:  c5 fd f5 c1              vpmaddwd %ymm1, %ymm0, %ymm0
0x0000200d:  66 0f f5 c1              pmaddwd  %xmm1, %xmm0
0x00002011:  c5 fd f5 c1              vpmaddwd %ymm1, %ymm0, %ymm0
"""


def words(arch: str, text: str, low: int = 0, high: int = 0x8000) -> list[str]:
    listing = Listing(arch)
    listing.read(io.BytesIO(text.encode()))
    return listing.words([(low, high)])


def test_instructions_are_counted_once_each_and_only_in_the_engine() -> None:
    assert words("aarch64", ARM) == ["int8 products: UDOT (dotprod; 4 instructions)"]


def test_a_few_stray_instructions_are_no_kernel() -> None:
    assert words("aarch64", ARM, low=0x1004) == []


def test_of_several_mnemonics_of_one_set_all_are_named() -> None:
    assert words("x86_64", X86) == ["int8 products: VPMADDUBSW/VPMADDWD (AVX2; 4 instructions)"]


@given(st.integers(1, 300), st.sampled_from([("aarch64", ARM), ("x86_64", X86)]))
def test_where_the_stream_is_cut_makes_no_difference(chunk: int, listed: tuple[str, str]) -> None:
    arch, text = listed
    whole, cut = Listing(arch), Listing(arch)
    before, kernels._CHUNK_BYTES = kernels._CHUNK_BYTES, chunk
    try:
        cut.read(io.BytesIO(text.encode()))
    finally:
        kernels._CHUNK_BYTES = before
    whole.read(io.BytesIO(text.encode()))
    assert cut.words([(0, 1 << 20)]) == whole.words([(0, 1 << 20)])


def test_the_ranges_are_of_executable_pages_of_the_libraries_named() -> None:
    maps = """7f00-7f10 r--p 00000000 fe:00 1 /s/onnxruntime/capi/libonnxruntime.so.1
7f10-7f30 r-xp 00000000 fe:00 1 /s/onnxruntime/capi/libonnxruntime.so.1
7f40-7f50 r-xp 00000000 fe:00 1 /s/numpy/libnumpy.so
7f60-7f70 r-xp 00000000 00:00 0
"""
    assert library_ranges(maps, r"/onnxruntime/capi/[^/]*\.so") == [(0x7F10, 0x7F30)]
