"""Damaged and harmful bundles before the JavaScript runtime in Node: refused by the names that every language has."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fixtures import bundles, js_runtime
from fixtures.hostile_bundles import HOSTILE
from fixtures.wrappers import Driver, Refused


@pytest.fixture(scope="module")
def driver(js_app: Path) -> Iterator[Driver]:
    driver = Driver(["node", js_runtime.DRIVER, js_app])
    yield driver
    driver.end()


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return bundles.plain_bundle(tmp_path / "bundle")


def _refused(driver: Driver, bundle: Path) -> str:
    for op in ("verify", "open"):
        with pytest.raises(Refused) as caught:
            driver.ask(op, bundle=str(bundle))
        assert caught.value.name == "BundleInvalid"
        assert "\n" not in caught.value.message
    return caught.value.message


@pytest.mark.parametrize("damage", HOSTILE.values(), ids=HOSTILE)
def test_damage_is_called_by_its_name(driver: Driver, bundle: Path, damage: object) -> None:
    assert driver.ask("verify", bundle=str(bundle)) == {"name": "bundle"}
    damage(bundle)  # type: ignore[operator]
    _refused(driver, bundle)


def test_a_sound_bundle_of_odd_names_is_accepted(driver: Driver, bundle: Path) -> None:
    for name in ("a b.txt", "ü/日本.bin", "x" * 200, "runtime/edgekit_runtime/probe.py"):
        (bundle / name).parent.mkdir(parents=True, exist_ok=True)
        (bundle / name).write_bytes(b"x" * 3_000_000)
    bundles.reseal(bundle)
    cache = bundle / "runtime" / "edgekit_runtime" / "__pycache__"
    cache.mkdir()
    (cache / "probe.cpython-311.pyc").write_bytes(b"compiled meanwhile")
    assert driver.ask("verify", bundle=str(bundle)) == {"name": "bundle"}
    (cache / "payload.txt").write_bytes(b"x")
    assert "payload.txt" in _refused(driver, bundle)


def test_a_pipe_is_not_waited_on(driver: Driver, bundle: Path) -> None:
    (bundle / "config.json").unlink()
    os.mkfifo(bundle / "config.json")
    assert "not a regular file" in _refused(driver, bundle)


def test_folders_without_end(driver: Driver, bundle: Path) -> None:
    bundle.joinpath(*["d"] * 40).mkdir(parents=True)
    assert "deep" in _refused(driver, bundle)


def test_no_folder_and_a_zip(driver: Driver, tmp_path: Path) -> None:
    assert "is not a folder" in _refused(driver, tmp_path / "nothing")
    (tmp_path / "b.zip").write_bytes(b"PK")
    assert "unpack it" in _refused(driver, tmp_path / "b.zip")


def test_words_from_a_manifest_cannot_write_over_a_terminal(driver: Driver, bundle: Path) -> None:
    manifest = json.loads((bundle / "edgekit.json").read_bytes())
    (bundle / "edgekit.json").write_text(json.dumps(manifest | {"task": "\x1b[2J\u202eevil" + "x" * 5000}))
    message = _refused(driver, bundle)
    assert len(message) < 400
    assert all(letter.isprintable() for letter in message)


def test_a_file_that_grows_while_it_is_read_is_refused(js_app: Path, bundle: Path) -> None:
    """The size is checked first, so the growth comes with the first piece that was read."""
    (bundle / "onnx" / "model.onnx").write_bytes(b"x" * 3 * 2**20)
    bundles.reseal(bundle)
    code = f"""
        import {{ appendFileSync }} from 'node:fs';
        import {{ open }} from './edgekit/index.js';
        const grown = ({{ file, loadedBytes }}) =>
            file.endsWith('.onnx') && loadedBytes === 2 ** 20 && appendFileSync({str(bundle)!r} + '/' + file, 'more');
        await open({str(bundle)!r}, {{ onProgress: grown }}).catch((error) => console.log(error.name, error.message));
    """
    done = subprocess.run(
        ["node", "--input-type=module", "-e", code], cwd=js_app, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.startswith("BundleInvalid onnx/model.onnx has 3145732 bytes"), done.stderr


def test_an_object_of_strange_keys_is_only_data(driver: Driver, bundle: Path) -> None:
    text = (bundle / "edgekit.json").read_text(encoding="utf-8")
    odd = '{"__proto__": {"polluted": 1}, "constructor": {"prototype": {"polluted": 1}}, '
    (bundle / "edgekit.json").write_text(odd + text[1:], encoding="utf-8")
    assert driver.ask("verify", bundle=str(bundle)) == {"name": "bundle"}
    (bundle / "edgekit.json").write_text('{"__proto__": {"schema_version": 1}}', encoding="utf-8")
    assert "schema_version" in _refused(driver, bundle)
