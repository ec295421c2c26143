"""A LoRA adapter from its folder to a bundle: what is deployed answers as the adapter beside its base did."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from fixtures import tiny_adapters, tiny_models

import edgekit
from edgekit.cli import main
from edgekit.limits import Limits
from edgekit.resources import use_python_runtime

pytestmark = pytest.mark.engines
LOOSE = Limits(max_slowdown=1000, max_kl=1, min_top1=0.5)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapters")
    base = tiny_models.tiny_llama(folder / "base")
    tiny_adapters.adapter(base, folder / "tuned", target_modules="all-linear", scale=0.1, task_type="CAUSAL_LM")
    return folder / "tuned"


def test_packed_merged_and_validated(adapter: Path, tmp_path: Path) -> None:
    from edgekit.model import open_model
    from edgekit.torch_model import load_torch

    packed = edgekit.pack(adapter, "host", out=tmp_path / "bundle", strategy="gguf-F16", limits=LOOSE)
    provenance = packed.manifest.provenance
    assert (packed.manifest.name, provenance.source) == ("tuned", str(adapter))
    assert provenance.merged is not None
    assert provenance.merged.base.source == str(adapter.parent / "base")
    assert [(each.source, each.weight) for each in provenance.merged.adapters] == [(str(adapter), 1.0)]
    assert str(adapter) in (packed.folder / "report.html").read_text(encoding="utf-8")

    import torch

    use_python_runtime()
    import edgekit_runtime

    ids = list(range(5, 40))
    with edgekit_runtime.open(packed.folder) as session, torch.no_grad():
        found = session.logits(ids)
        wanted = load_torch(open_model(adapter))(input_ids=torch.tensor([ids])).logits[0].numpy()
        bare = load_torch(open_model(adapter.parent / "base"))(input_ids=torch.tensor([ids])).logits[0].numpy()
    assert np.abs(found - wanted).max() < 0.02 * np.abs(wanted).max()
    assert np.abs(bare - wanted).max() > 0.2 * np.abs(wanted).max()
    assert edgekit.validate(packed.folder).status == "passed", "the adapter and its base are found again"


def test_the_commands(adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "merged"
    assert main(["merge", str(adapter), "--out", str(out), "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["model"] == str(out)
    assert value["made_of"]["adapters"][0]["source"] == str(adapter)
    assert main(["merge", str(adapter), "--out", str(out)]) == 40
    base = str(adapter.parent / "base")
    assert main(["merge", base, "--adapters", f"{adapter}=0.5", "--out", str(out), "--force"]) == 0
    assert f"{adapter} x 0.5 into {base}" in capsys.readouterr().out
    assert main(["plan", str(adapter), "--base", base, "--strategy", "gguf"]) == 0
    assert "gguf Q8_0" in capsys.readouterr().out
    assert main(["inspect", str(adapter)]) == 0
    assert "adapter (LoRA)" in capsys.readouterr().out
    assert main(["merge", base, "--out", str(tmp_path / "x")]) == 34
    assert main(["merge", base, "--adapters", f"{adapter}=much", "--out", str(tmp_path / "x")]) == 2
    assert not (tmp_path / "x").exists()
