from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fixtures import training

pytestmark = pytest.mark.engines


def test_examples_are_told_apart_by_every_bit_name_type_shape_and_order() -> None:
    from edgekit.training.identity import examples_sha256

    ids = np.arange(6, dtype=np.int32)
    base: list[dict[str, Any]] = [{"input_ids": ids, "attention_mask": np.ones(6, np.int32)}, {"input_ids": ids[:3]}]
    variants = [
        base,
        base[::-1],
        [{**base[0], "input_ids": ids + np.eye(6, dtype=np.int32)[5]}, base[1]],
        [{**base[0], "input_ids": ids.astype(np.int64)}, base[1]],
        [{**base[0], "input_ids": ids.reshape(2, 3)}, base[1]],
        [{"token_type_ids": ids, "attention_mask": base[0]["attention_mask"]}, base[1]],
        base[:1],
    ]
    assert len({examples_sha256(each) for each in variants}) == len(variants)
    assert examples_sha256(base) == examples_sha256([dict(reversed(each.items())) for each in base])


def test_modules_are_told_apart_by_parameters_and_buffers_and_not_by_their_mode() -> None:
    import torch

    from edgekit.training.identity import module_sha256

    digests = [module_sha256(training.student()), module_sha256(training.student(2))]
    for change in ("0.bias", "1.running_var"):
        student = training.student()
        with torch.no_grad():
            student.state_dict()[change][-1] += 1e-6
        digests.append(module_sha256(student))
    assert len(set(digests)) == 4
    assert module_sha256(training.student().train()) == digests[0]


def test_tied_weights_are_named_once_and_half_precision_is_read() -> None:
    import torch

    from edgekit.training.identity import module_sha256, named_tensors

    tied = torch.nn.ModuleDict({"one": torch.nn.Linear(3, 3), "two": torch.nn.Linear(3, 3)})
    tied["two"].weight = tied["one"].weight
    assert list(named_tensors(tied)) == ["one.weight", "one.bias", "two.bias"]
    assert module_sha256(tied.bfloat16()) != module_sha256(tied.half())
