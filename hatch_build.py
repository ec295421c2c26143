"""What the wheel carries besides the package: device profiles and the runtimes' sources, without what builds left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDERS = ("device_profiles", "runtimes")
LEFT_OUT = {"__pycache__", "node_modules", "build", "dist"}


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg, misc]
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """An editable install finds them beside the package."""
        if version == "editable":
            return
        root = Path(self.root)
        for path in (path for folder in FOLDERS for path in sorted((root / folder).rglob("*")) if path.is_file()):
            inside = path.relative_to(root)
            if not any(part in LEFT_OUT or part.startswith(".") for part in inside.parts):
                build_data["force_include"][str(path)] = f"edgekit/data/{inside.as_posix()}"
