"""One exception tree. Each leaf has its own exit code; a message is one line that a person can act on.

EdgekitError
├── UsageError              2   unknown command, flag or value
├── NotFound                    something named does not exist
│   ├── UnknownDevice      10
│   ├── ModelNotFound      11   no such folder, file or hub model
│   └── HubUnreachable     12
├── BadInput                    something exists and is not usable
│   ├── BadProfile         20
│   ├── BadModel           21   no config, truncated weights, NaN
│   ├── UnsupportedModel   22   architecture or task nobody here packs
│   ├── UnsafeModel        23   pickle or remote code without permission by name
│   ├── GatedModel         24
│   ├── BadTokenizer       25
│   ├── BadEvalData        26
│   ├── BadBundle          27   hash, path, schema
│   ├── RunRefused         28   the bundle's runtime refuses or fails
│   ├── WrongOriginal      29   not the model a bundle was packed from
│   ├── BadReport          33   not a report, or one of another bundle
│   └── BadAdapter         34   without its base, or made for another architecture
├── DoesNotFit             30   no candidate can be in the device's budget
├── LimitMissed            31   every candidate was made and measured; none passed
├── ValidationFailed       32   the measuring subprocess broke
├── OutputError                 the output cannot be written
│   ├── OutputExists       40
│   ├── OutputBusy         41   another pack writes there
│   ├── OutputUnwritable   42
│   └── NoSpace            43
├── MissingEngine          50   an optional dependency is not installed
├── TargetError                 the place where a bundle was to be validated cannot be used
│   ├── TargetNotPrepared  60   its emulator, root or engine is not there yet
│   ├── UnknownCpu         61   the emulator knows no CPU of that name
│   ├── TargetUnreachable  62
│   ├── HostKeyChanged     63
│   ├── TargetLacksPython  64
│   ├── TargetFull         65   its disk
│   └── MissingTool        66   a program this needs here: ssh, adb, a compiler, npm
├── DemoError                   the page of `edgekit demo` cannot be served
│   ├── PortTaken          70
│   └── TooLargeForPage    71   a model beyond what a browser's wasm can hold
├── TrainingError               a model cannot be trained from what there is
│   ├── NoData             80
│   ├── TooLittleData      81
│   ├── LabelMismatch      82   labels that the model does not have
│   ├── VocabularyMismatch 83   teacher and student read text differently
│   ├── NoStudentFits      84   no student can meet the budget
│   └── Diverged           85   the loss is no number any more
└── Interrupted           130
"""

from __future__ import annotations

from typing import ClassVar


def plain(text: str) -> str:
    """`text` in one line without control characters, which a terminal would obey."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())


class EdgekitError(Exception):
    """What went wrong, with the measured value and the limit where there is one, and what to do about it.

    `str(error)` is one line: the message, then the remedy after a dash.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, remedy: str = "") -> None:
        self.message, self.remedy = plain(message), plain(remedy)
        super().__init__(f"{self.message} - {self.remedy}" if self.remedy else self.message)


class UsageError(EdgekitError):
    exit_code = 2


class NotFound(EdgekitError):
    pass


class UnknownDevice(NotFound):
    exit_code = 10


class ModelNotFound(NotFound):
    exit_code = 11


class HubUnreachable(NotFound):
    exit_code = 12


class BadInput(EdgekitError):
    pass


class BadProfile(BadInput):
    exit_code = 20


class BadModel(BadInput):
    exit_code = 21


class UnsupportedModel(BadInput):
    exit_code = 22


class UnsafeModel(BadInput):
    exit_code = 23


class GatedModel(BadInput):
    exit_code = 24


class BadTokenizer(BadInput):
    exit_code = 25


class BadEvalData(BadInput):
    exit_code = 26


class BadBundle(BadInput):
    exit_code = 27


class RunRefused(BadInput):
    exit_code = 28


class WrongOriginal(BadInput):
    exit_code = 29


class BadReport(BadInput):
    exit_code = 33


class BadAdapter(BadInput):
    exit_code = 34


class DoesNotFit(EdgekitError):
    exit_code = 30


class LimitMissed(EdgekitError):
    exit_code = 31


class ValidationFailed(EdgekitError):
    exit_code = 32


class OutputError(EdgekitError):
    pass


class OutputExists(OutputError):
    exit_code = 40


class OutputBusy(OutputError):
    exit_code = 41


class OutputUnwritable(OutputError):
    exit_code = 42


class NoSpace(OutputError):
    exit_code = 43


class MissingEngine(EdgekitError):
    exit_code = 50


class TargetError(EdgekitError):
    pass


class TargetNotPrepared(TargetError):
    exit_code = 60


class UnknownCpu(TargetError):
    exit_code = 61


class TargetUnreachable(TargetError):
    exit_code = 62


class HostKeyChanged(TargetError):
    exit_code = 63


class TargetLacksPython(TargetError):
    exit_code = 64


class TargetFull(TargetError):
    exit_code = 65


class MissingTool(TargetError):
    exit_code = 66


class DemoError(EdgekitError):
    pass


class PortTaken(DemoError):
    exit_code = 70


class TooLargeForPage(DemoError):
    exit_code = 71


class TrainingError(EdgekitError):
    pass


class NoData(TrainingError):
    exit_code = 80


class TooLittleData(TrainingError):
    exit_code = 81


class LabelMismatch(TrainingError):
    exit_code = 82


class VocabularyMismatch(TrainingError):
    exit_code = 83


class NoStudentFits(TrainingError):
    exit_code = 84


class Diverged(TrainingError):
    exit_code = 85


class Interrupted(EdgekitError):
    exit_code = 130
