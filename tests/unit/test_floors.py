"""Imports go strictly down the floors of docs/architecture.md, and the commands that only print start light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "edgekit"

# A module may import from any floor below its own, and from its own package.
FLOORS = (
    ("errors", "progress", "resources", "quiet", "samples", "limits", "grid"),
    ("device", "checkpoint", "output", "manifest"),
    ("adapters",),
    ("costs", "model", "runtimes", "chat_format"),
    ("torch_model", "report", "setting"),
    ("training",),
    ("students",),
    ("strategies",),
    ("rules", "comparison"),
    ("evaluation", "targets", "planner"),
    ("fidelity", "reference", "measure", "html", "anatomy", "npm", "bundle_readme", "training_data"),
    ("questions", "bundle"),
    ("validation", "goldens", "comparing"),
    ("findings",),
    ("history",),
    ("attempts", "asking"),
    ("distilling",),
    (
        "packer",
        "inspection",
        "merging",
        "running",
        "plan_table",
        "comparison_table",
        "distilled_table",
        "demo",
    ),
    ("revalidate", "pruning", "quantaware", "tables"),
    ("flags", "manual"),
    ("commands",),
    ("cli",),
    ("__main__",),
)
HEAVY = (
    "torch",
    "onnx",
    "onnxruntime",
    "transformers",
    "optimum",
    "llama_cpp",
    "gguf",
    "huggingface_hub",
    "tokenizers",
)


def floor_of(module: str) -> int:
    for floor, names in enumerate(FLOORS):
        if module in names:
            return floor
    raise AssertionError(f"edgekit.{module} stands on no floor: add it to FLOORS and to docs/architecture.md")


def imported(path: Path) -> list[tuple[str, int]]:
    """(edgekit module, line) of every import in the file, also inside functions; type-checking imports left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        for child in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.ImportFrom) and node.module == "edgekit":
            found += [(alias.name, node.lineno) for alias in node.names if alias.name != "__version__"]
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("edgekit."):
            found.append((node.module.split(".")[1], node.lineno))
        elif isinstance(node, ast.Import):
            found += [(a.name.split(".")[1], node.lineno) for a in node.names if a.name.startswith("edgekit.")]
    return found


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(path: Path) -> None:
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for name, line in imported(path):
        assert name == own or floor_of(name) < floor_of(own), f"{path}:{line} imports edgekit.{name}"


def test_every_floor_is_a_module() -> None:
    have = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in MODULES}
    assert {name for names in FLOORS for name in names} == have


def test_the_runtime_never_imports_edgekit() -> None:
    for path in (ROOT / "runtimes").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            assert not [name for name in names if name.split(".")[0] in ("edgekit", "torch", "transformers")], path


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_heavy_imports_stand_inside_functions(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        assert not [name for name in names if name.split(".")[0] in HEAVY], f"{path}:{node.lineno}"


@pytest.mark.parametrize(
    "arguments", [["--help"], ["devices", "list"], ["pack", "--help"], ["--version"]], ids=" ".join
)
def test_light_commands_import_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom edgekit.cli import main\n"
        f"assert main({arguments!r}) == 0\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stderr.splitlines()[-1] == "[]"
    assert ran.stdout.strip()
