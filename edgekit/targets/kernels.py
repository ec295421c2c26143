"""Which kernels an engine ran, seen: qemu lists each instruction once, when it first translates it to run it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import BinaryIO

Range = tuple[int, int]

_INT8, _FP32, _FP16 = "int8 products", "fp32", "fp16"
# (what for, mnemonics, first operand, instruction set); of the first operand as objdump and qemu spell it.
_KINDS: dict[str, tuple[tuple[str, str, str, str], ...]] = {
    "aarch64": (
        (_INT8, "smopa|umopa|usmopa|sumopa", r"za", "SME"),
        (_INT8, "smmla|ummla|usmmla", r"[vz]\d", "i8mm"),
        (_INT8, "udot|sdot|usdot|sudot", r"z\d", "SVE"),
        (_INT8, "udot|sdot", r"v\d", "dotprod"),
        (_INT8, "usdot|sudot", r"v\d", "i8mm"),
        (_INT8, "smull2?|smlal2?|umull2?|umlal2?", r"v\d+\.8h", "NEON"),
        (_FP32, "fmopa", r"za", "SME"),
        (_FP32, "fmla", r"z\d+\.s", "SVE"),
        (_FP32, "fmla", r"v\d+\.[24]s", "NEON"),
        (_FP16, "fmla", r"z\d+\.h", "SVE"),
        (_FP16, "fmla", r"v\d+\.[48]h", "NEON"),
    ),
    "x86_64": (
        (_INT8, "tdpbssd|tdpbsud|tdpbusd|tdpbuud", r"", "AMX"),
        (_INT8, "vpdpbusds?", r"", "VNNI"),
        (_INT8, "vpmaddubsw", r"", "AVX2"),
        (_INT8, "vpmaddwd", r"", "AVX2"),
        (_INT8, "pmaddubsw", r"", "SSSE3"),
        (_INT8, "pmaddwd", r"", "SSE"),
        (_FP32, r"vfmadd\d+ps", r"", "FMA"),
        (_FP32, "vmulps", r"", "AVX"),
        (_FP32, "mulps", r"", "SSE"),
    ),
}
_CHUNK_BYTES = 2**18
# A kernel's inner loop has more; a stray instruction is none.
_FEWEST = 4


class Listing:
    """qemu's listing (`-d in_asm`) as it streams by: the addresses of the instructions that tell one kernel from
    another, by (what for, instruction set, mnemonic).
    """

    def __init__(self, arch: str) -> None:
        kinds = _KINDS[arch]
        self._told = [(purpose, feature) for purpose, _, _, feature in kinds]
        # A line is "0x7f..:  4e94a810  smmla    v16.4s, ...", bytes in one word (ARM) or several (x86).
        each = "|".join(rf"(?P<k{n}>(?:{names})\s+{operand})" for n, (_, names, operand, _) in enumerate(kinds))
        self._line = re.compile(rf"^0x([0-9a-f]+):\s+(?:[0-9a-f]+ )+ *(?:{each})".encode(), re.MULTILINE)
        self._found: dict[tuple[str, str, str], set[int]] = {}

    def read(self, stream: BinaryIO) -> None:
        """To the stream's end."""
        rest = b""
        while chunk := stream.read(_CHUNK_BYTES):
            whole, newline, rest = (rest + chunk).rpartition(b"\n")
            self._take(whole + newline)
        self._take(rest)

    def _take(self, text: bytes) -> None:
        for match in self._line.finditer(text):
            kind = match.lastgroup
            assert kind is not None
            purpose, feature = self._told[int(kind[1:])]
            mnemonic = match[kind].split()[0].decode().upper()
            self._found.setdefault((purpose, feature, mnemonic), set()).add(int(match[1], 16))

    def words(self, ranges: Sequence[Range]) -> list[str]:
        """ "int8 products: UDOT (dotprod; 110 instructions)", of those at addresses in `ranges`, most first."""
        counts: Counter[tuple[str, str]] = Counter()
        names: dict[tuple[str, str], set[str]] = {}
        for (purpose, feature, mnemonic), addresses in self._found.items():
            inside = sum(any(low <= address < high for low, high in ranges) for address in addresses)
            if inside:
                counts[purpose, feature] += inside
                names.setdefault((purpose, feature), set()).add(mnemonic)
        order = {_INT8: 0, _FP32: 1, _FP16: 2}
        listed = sorted(counts.items(), key=lambda one: (order[one[0][0]], -one[1]))
        return [
            f"{purpose}: {'/'.join(sorted(names[purpose, feature]))} ({feature}; {count} instructions)"
            for (purpose, feature), count in listed
            if count >= _FEWEST
        ]


def library_ranges(maps: str, pattern: str) -> list[Range]:
    """Address ranges of executable code in files whose path matches, from the text of /proc/PID/maps."""
    found = []
    for line in maps.splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and "x" in fields[1] and re.search(pattern, fields[5]):
            low, high = fields[0].split("-")
            found.append((int(low, 16), int(high, 16)))
    return found
