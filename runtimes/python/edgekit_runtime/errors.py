"""What can go wrong with a bundle on a device. One tree; `code` is the same short name in every language.

RuntimeFailure
├── BundleInvalid       the folder is not a bundle, or not the one that was packed
├── UnsupportedDevice   this CPU lacks what the bundle needs
├── MemoryBudget        it would take more memory than the app allows
├── LoadFailed          the engine is not installed, or refuses the model
├── RunFailed           the engine failed during a call
├── WrongTask           the bundle's task has no such call
├── BadInput            an argument's name, type, shape or range
│   └── PromptTooLong   prompt and answer do not fit the context
├── Busy                another call is running on this session
├── Cancelled           cancel() was called
└── Closed              close() was called
"""

from __future__ import annotations


class RuntimeFailure(Exception):
    """`str(error)` is one line: what, the measured value and the limit, and what to do about it."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))

    @property
    def code(self) -> str:
        return type(self).__name__


class BundleInvalid(RuntimeFailure):
    pass


class UnsupportedDevice(RuntimeFailure):
    pass


class MemoryBudget(RuntimeFailure):
    pass


class LoadFailed(RuntimeFailure):
    pass


class RunFailed(RuntimeFailure):
    pass


class WrongTask(RuntimeFailure):
    pass


class BadInput(RuntimeFailure):
    pass


class PromptTooLong(BadInput):
    pass


class Busy(RuntimeFailure):
    pass


class Cancelled(RuntimeFailure):
    pass


class Closed(RuntimeFailure):
    pass
