from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from fixtures import tiny_models

from edgekit.errors import BadModel, NoSpace
from edgekit.model import Training, open_model

pytestmark = pytest.mark.engines

TEXTS = tuple(
    " ".join(["the", "quick", "brown", "fox", "jumps", "over", "a", "dog"][at % 5 : at % 7 + 2]) for at in range(23)
)


class Taught(NamedTuple):
    module: Any
    examples: list[Any]
    kept: Any


def taught(folder: Path, name: str, **options: Any) -> Taught:
    from edgekit.torch_model import load_torch
    from edgekit.training.cache import Kept
    from edgekit.training.tasks import encoded

    model = open_model(getattr(tiny_models, name)(folder / "m", **options))
    examples, _ = encoded(model, Training("t", texts=TEXTS))
    return Taught(load_torch(model), examples, Kept(model.task, model.pooling, model.normalize))


def direct(teacher: Taught, indices: np.ndarray, *, hidden: bool = False) -> Any:
    import torch

    from edgekit.training.batches import collated
    from edgekit.training.tasks import answers

    with torch.no_grad():
        return answers(
            teacher.module,
            teacher.kept.task,
            collated(teacher.examples, indices).inputs,
            pooling=teacher.kept.pooling,
            normalize=teacher.kept.normalize,
            hidden=hidden,
        )


def close(found: Any, expected: Any, mask: Any = None) -> None:
    """Equal where tokens count; 0 elsewhere. Batched with others the same text is rounded otherwise."""
    import torch

    if mask is not None:
        assert not bool(found[~mask].any())
        found, expected = found[mask], expected[mask]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-5)


def test_embeddings_and_states_read_back_in_any_order(tmp_path: Path) -> None:
    from edgekit.training.cache import TeacherCache

    teacher = taught(tmp_path, "tiny_sentence_encoder")
    kept = replace(teacher.kept, hidden=(-1, 0))
    cache = TeacherCache.build(tmp_path / "c", teacher.module, teacher.examples, kept, batch_size=4)
    for indices in (np.array([22, 3, 7]), np.array([0]), np.arange(23)):
        found, expected = cache.read(indices), direct(teacher, indices, hidden=True)
        close(found.embedding, expected.embedding)
        assert found.mask is not None
        assert bool((found.mask == expected.mask).all())
        close(found.hidden[0], expected.hidden[-1], found.mask)
        close(found.hidden[1], expected.hidden[0], found.mask)
    assert cache.note == ""


def test_what_was_computed_is_read_back_bit_for_bit(tmp_path: Path) -> None:
    """Batches of one are not padded and not mixed: each text's own answer must be there exactly."""
    import torch

    from edgekit.training.cache import TeacherCache

    teacher = taught(tmp_path, "tiny_llama")
    cache = TeacherCache.build(tmp_path / "c", teacher.module, teacher.examples, teacher.kept, batch_size=1)
    for index in range(23):
        found, expected = cache.read(np.array([index])), direct(teacher, np.array([index]))
        assert torch.equal(found.logits, expected.logits)
    tokens = sum(len(each["input_ids"]) for each in teacher.examples)
    assert cache.bytes == 4 * tokens * teacher.module.config.vocab_size
    assert cache.bytes == sum(each.stat().st_size for each in (tmp_path / "c").glob("*.bin"))


@pytest.mark.parametrize("name", ["tiny_bert_classifier", "tiny_bert_tagger"])
def test_classifiers_logits_are_kept_whole(tmp_path: Path, name: str) -> None:
    from edgekit.training.cache import TeacherCache

    teacher = taught(tmp_path, name)
    cache = TeacherCache.build(tmp_path / "c", teacher.module, teacher.examples, teacher.kept)
    indices = np.array([5, 1, 9])
    found, expected = cache.read(indices), direct(teacher, indices)
    close(found.logits, expected.logits, found.mask if name == "tiny_bert_tagger" else None)


def test_pictures_are_cached_too(tmp_path: Path) -> None:
    import torch

    from edgekit.evaluation import default_set
    from edgekit.torch_model import load_torch
    from edgekit.training.cache import Kept, TeacherCache
    from edgekit.training.tasks import encoded

    model = open_model(tiny_models.tiny_vit(tmp_path / "m"))
    examples, _ = encoded(model, Training("t", arrays=default_set(model).arrays[:6]))
    teacher = Taught(load_torch(model), examples, Kept(model.task, hidden=(-1,)))
    cache = TeacherCache.build(tmp_path / "c", teacher.module, examples, teacher.kept, batch_size=6)
    found, expected = cache.read(np.arange(6)), direct(teacher, np.arange(6), hidden=True)
    assert torch.equal(found.logits, expected.logits)
    assert torch.equal(found.hidden[0], expected.hidden[-1])
    assert found.mask is None


def test_of_a_large_vocabulary_the_top_and_the_mass_of_the_rest_are_kept(tmp_path: Path) -> None:
    import torch

    from edgekit.training import cache as module
    from edgekit.training.losses import soft_kl, top_kl

    teacher = taught(tmp_path, "tiny_llama")
    kept = replace(teacher.kept, temperature=2.0, top=16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "FULL_VOCABULARY", 100)
        cache = module.TeacherCache.build(tmp_path / "c", teacher.module, teacher.examples, kept, batch_size=5)
    indices = np.array([4, 0, 17])
    found, whole = cache.read(indices), direct(teacher, indices).logits
    assert found.logits is None
    assert found.top is not None
    assert found.mask is not None
    values, ids = whole.topk(16, dim=-1)
    close(found.top.values, values, found.mask)
    assert torch.equal(found.top.ids[found.mask], ids[found.mask])
    mass = found.top.rest.exp() + (found.top.values / 2).exp().sum(-1)
    close(mass[found.mask], (whole / 2).exp().sum(-1)[found.mask])
    student = torch.randn(whole.shape, generator=torch.Generator().manual_seed(0))
    merged, full = top_kl(student, found.top, found.mask), soft_kl(student, whole, 2.0, found.mask)
    assert 0 < float(merged) <= float(full)
    assert cache.note == (
        "of the teacher's logits the 16 largest of each token were kept; the others count as one, at temperature 2"
    )
    tokens = sum(len(each["input_ids"]) for each in teacher.examples)
    assert cache.bytes == tokens * (16 * 8 + 4)


def test_it_is_made_once_and_again_for_anything_else(tmp_path: Path) -> None:
    import torch

    from edgekit.training.cache import TeacherCache

    teacher = taught(tmp_path, "tiny_sentence_encoder")
    asked = 0

    def counted(*_: Any) -> None:
        nonlocal asked
        asked += 1

    teacher.module.register_forward_pre_hook(counted)

    def made(examples: Any = None, kept: Any = None) -> int:
        before = asked
        TeacherCache.build(tmp_path / "c", teacher.module, examples or teacher.examples, kept or teacher.kept).close()
        return asked - before

    assert made() > 0
    assert made() == 0
    assert made(examples=teacher.examples[1:]) > 0
    assert made(kept=replace(teacher.kept, normalize=False)) > 0
    assert made(kept=replace(teacher.kept, normalize=False)) == 0
    with torch.no_grad():
        next(teacher.module.parameters()).mul_(1.01)
    assert made(kept=replace(teacher.kept, normalize=False)) > 0


def test_one_that_was_cut_short_is_made_again(tmp_path: Path) -> None:
    from edgekit.training.cache import TeacherCache

    teacher = taught(tmp_path, "tiny_sentence_encoder")
    TeacherCache.build(tmp_path / "c", teacher.module, teacher.examples, teacher.kept).close()
    file = tmp_path / "c" / "embedding.bin"
    file.write_bytes(file.read_bytes()[:-4])
    cache = TeacherCache.build(tmp_path / "c", teacher.module, teacher.examples, teacher.kept)
    assert file.stat().st_size == 23 * 64 * 4
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(BadModel, match="were cut short - delete that folder"):
        cache.read(np.array([20]))


def test_no_space_is_told_before_the_teacher_is_asked(tmp_path: Path) -> None:
    from edgekit.training.cache import TeacherCache

    teacher = taught(tmp_path, "tiny_llama")
    asked = []
    teacher.module.register_forward_pre_hook(lambda *_: asked.append(1))
    free = shutil.disk_usage(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: free._replace(free=2**20))
        with pytest.raises(NoSpace, match=r"has 1 MiB free, the teacher's answers need \d+ MiB"):
            TeacherCache.build(tmp_path / "c", teacher.module, teacher.examples, teacher.kept)
    assert len(asked) == 1  # to learn the shapes
    assert not (tmp_path / "c").exists()


def test_a_teacher_without_sound_answers_is_refused(tmp_path: Path) -> None:
    import torch

    from edgekit.training.cache import TeacherCache

    teacher = taught(tmp_path, "tiny_llama")
    with torch.no_grad():
        teacher.module.lm_head.weight[3] = float("nan")
    with pytest.raises(BadModel, match="answers an example with NaN or infinity"):
        TeacherCache.build(tmp_path / "c", teacher.module, teacher.examples, teacher.kept)
    assert not list(tmp_path.glob("c*"))


def test_an_interrupt_leaves_nothing_behind(tmp_path: Path) -> None:
    from edgekit.training.cache import TeacherCache

    class Stopping:
        def step(self, title: str, total: float | None = None) -> None:
            assert title == "the teacher's answers to 23 examples"

        def advance(self, done: float) -> None:
            raise KeyboardInterrupt

    teacher = taught(tmp_path, "tiny_llama")
    with pytest.raises(KeyboardInterrupt):
        TeacherCache.build(tmp_path / "c", teacher.module, teacher.examples, teacher.kept, progress=Stopping())
    assert [each.name for each in tmp_path.iterdir()] == ["m"]


def test_the_teacher_is_left_in_its_mode(tmp_path: Path) -> None:
    from edgekit.training.cache import TeacherCache

    teacher = taught(tmp_path, "tiny_bert_classifier")
    teacher.module.train()
    TeacherCache.build(tmp_path / "c", teacher.module, teacher.examples, teacher.kept).close()
    assert teacher.module.training
