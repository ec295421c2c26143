"""The Swift runtime's tests, run only when they are named (`make test-swift`): the toolchain takes 1.2 GB."""

from __future__ import annotations

from pathlib import Path

import pytest
from fixtures import swift_runtime

_FOLDER = Path(__file__).resolve().parent
pytest.register_assert_rewrite("conformance.test_wrappers")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    asked = [Path(config.invocation_params.dir, word.split("::")[0]).resolve() for word in config.args]
    return None if any(each == _FOLDER or _FOLDER in each.parents for each in asked) else True


@pytest.fixture(scope="session")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that swift_runtime.build builds in."""
    return tmp_path_factory.mktemp("swift")


@pytest.fixture(scope="session")
def swift_driver(swift: Path) -> list[str]:
    """The command line of the driver, optimized as an app would be."""
    built = swift_runtime.build(swift, "--configuration", "release", "--product", "driver")
    return swift_runtime.command(built / "release" / "driver")
