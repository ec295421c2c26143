from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgekit_runtime import BadInput, BundleInvalid
from edgekit_runtime._image import pixel_values
from fixtures import bundles
from PIL import Image

IMAGE: dict[str, Any] = {"height": 4, "width": 6, "mean": [0.5, 0.4, 0.3], "std": [0.5, 0.2, 0.1], "rescale": 1 / 255}
IMAGE |= {"resample": 2, "shortest_edge": None}


def _manifest(**changes: Any) -> dict[str, Any]:
    return {"image": IMAGE | changes}


def _picture(height: int, width: int) -> Any:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def test_a_picture_of_the_right_size_is_rescaled_and_normalised() -> None:
    picture = _picture(4, 6)
    values = pixel_values(picture, _manifest())
    assert values.shape == (1, 3, 4, 6)
    assert values.dtype == np.float32
    expected = (picture[1, 2] / 255 - np.array(IMAGE["mean"])) / np.array(IMAGE["std"])
    assert values[0, :, 1, 2] == pytest.approx(expected, abs=1e-5)


def test_another_size_is_resized_by_pillow_with_the_manifests_filter() -> None:
    picture = _picture(9, 7)
    values = pixel_values(picture, _manifest(mean=[0, 0, 0], std=[1, 1, 1]))
    for resample, same in ((2, True), (0, False)):
        resized = np.asarray(Image.fromarray(picture).resize((6, 4), resample)) / 255
        assert np.allclose(values[0].transpose(1, 2, 0), resized, atol=1e-6) is same


@pytest.mark.parametrize(("height", "width", "resized"), [(20, 31, (10, 15)), (31, 20, (15, 10)), (10, 10, (10, 10))])
def test_the_shorter_side_is_resized_and_the_centre_cut_out(height: int, width: int, resized: tuple[int, int]) -> None:
    picture = _picture(height, width)
    values = pixel_values(picture, _manifest(shortest_edge=10, mean=[0, 0, 0], std=[1, 1, 1]))
    whole = np.asarray(Image.fromarray(picture).resize(resized[::-1], 2)) / 255
    top, left = (resized[0] - 4) // 2, (resized[1] - 6) // 2
    assert np.allclose(values[0].transpose(1, 2, 0), whole[top : top + 4, left : left + 6], atol=1e-6)


def test_a_crop_wider_than_the_picture_is_filled_with_black() -> None:
    values = pixel_values(_picture(4, 4) | 1, _manifest(shortest_edge=3, mean=[0, 0, 0], std=[1, 1, 1]))
    assert values.shape == (1, 3, 4, 6)
    assert (values[0, :, 0, :] == 0).all()
    assert (values[0, :, 1:, 2:5] > 0).all()
    assert (values[0, :, :, [0, 1, 5]] == 0).all()


def test_paths_and_arrays_may_be_mixed(tmp_path: Path) -> None:
    picture = _picture(4, 6)
    Image.fromarray(picture).save(tmp_path / "a.png")
    values = pixel_values([tmp_path / "a.png", str(tmp_path / "a.png"), picture], _manifest())
    assert values.shape == (3, 3, 4, 6)
    assert np.array_equal(values[0], values[2])


def test_a_grey_picture_with_transparency_becomes_rgb(tmp_path: Path) -> None:
    Image.new("LA", (6, 4), (77, 10)).save(tmp_path / "grey.png")
    values = pixel_values(tmp_path / "grey.png", _manifest(mean=[0, 0, 0], std=[1, 1, 1]))
    assert values == pytest.approx(77 / 255)


def test_values_preprocessed_already_are_taken_as_they_are() -> None:
    values = np.zeros((2, 3, 4, 6), np.float32)
    assert pixel_values(values, _manifest()) is values


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((2, 3, 4, 5), np.float32),
        np.zeros((2, 3, 4, 6), np.float64),
        np.zeros((4, 6, 3), np.float32),
        np.zeros((4, 6), np.uint8),
        np.zeros((0, 6, 3), np.uint8),
        [],
    ],
)
def test_an_array_of_the_wrong_kind_is_refused(picture: Any) -> None:
    with pytest.raises(BadInput, match=r"expected|no picture"):
        pixel_values(picture, _manifest())


def test_a_file_that_is_no_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    for path in (tmp_path / "a.png", tmp_path / "missing.png"):
        with pytest.raises(BadInput, match=r"\.png cannot be read"):
            pixel_values(path, _manifest())


def test_a_manifest_without_a_size_is_refused() -> None:
    with pytest.raises(BundleInvalid, match=r"image\.height"):
        pixel_values(_picture(4, 6), {"image": {}})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mean", None), ("mean", [1, 2]), ("mean", "x"), ("std", [1, 1, "x"]), ("std", [1, 1, 10**400]),
        ("rescale", None), ("rescale", float("inf")), ("resample", 99), ("resample", "x"), ("shortest_edge", "x"),
        ("shortest_edge", -1), ("height", 0), ("height", 16385), ("width", 2.5),
    ],
)  # fmt: skip
def test_a_setting_that_no_picture_can_be_prepared_by_is_refused(key: str, value: Any) -> None:
    with pytest.raises(BundleInvalid, match=rf"image\.{key}"):
        pixel_values(_picture(4, 6), _manifest(**{key: value}))


def test_a_sliver_that_would_fill_memory_is_refused() -> None:
    with pytest.raises(BadInput, match=r"60000 x 1 would become one of 983040000 x 16384"):
        pixel_values(_picture(60000, 1), _manifest(shortest_edge=16384))


@pytest.mark.parametrize("pictures", [None, 5, [], [5], [None], {"a": 1}])
def test_what_is_no_picture_is_refused(pictures: Any) -> None:
    with pytest.raises(BadInput, match="picture"):
        pixel_values(pictures, _manifest())


def test_pillow_is_needed_for_files_and_other_sizes_alone() -> None:
    program = f"""
import sys
sys.modules["PIL"] = None
import numpy as np
from edgekit_runtime import LoadFailed
from edgekit_runtime._image import pixel_values
manifest = {_manifest()!r}
assert pixel_values(np.zeros((4, 6, 3), np.uint8), manifest).shape == (1, 3, 4, 6)
for picture in ("a.png", np.zeros((5, 6, 3), np.uint8)):
    try:
        pixel_values(picture, manifest)
    except LoadFailed as error:
        assert "pip install pillow" in str(error)
    else:
        sys.exit(1)
"""
    subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": str(bundles.RUNTIME)}, check=True)
