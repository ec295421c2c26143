"""The suite of every language's runtime (conformance/test_wrappers.py), asked of Swift's driver."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from conformance.test_wrappers import *  # noqa: F403
from fixtures.wrappers import Driver


@pytest.fixture(scope="module")
def language() -> str:
    return "swift"


@pytest.fixture(scope="module")
def driver(swift_driver: list[str]) -> Iterator[Driver]:
    driver = Driver(swift_driver)
    yield driver
    assert driver.end() == ""
