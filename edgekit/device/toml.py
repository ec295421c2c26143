"""Writing a profile as TOML (the standard library only reads it)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from edgekit.device.profile import DeviceProfile

_TABLES = ("cpu", "ram", "memory_bandwidth", "storage", "gpu")


def to_toml(profile: DeviceProfile) -> str:
    """TOML that `load_profile` reads as the same profile; what has its default value is left out."""
    data = profile.model_dump(mode="json", exclude_defaults=True)
    lines = [f"schema_version = {profile.schema_version}"]
    lines += [f"{key} = {_value(value)}" for key, value in data.items() if key not in (*_TABLES, "schema_version")]
    for table in _TABLES:
        if table not in data:
            continue
        lines += ["", f"[{table}]"]
        lines += [f"{key} = {_value(value)}" for key, value in data[table].items() if not _is_list_of_tables(value)]
        for key, rows in data[table].items():
            if _is_list_of_tables(rows):
                for row in rows:
                    lines += ["", f"[[{table}.{key}]]", *(f"{name} = {_value(value)}" for name, value in row.items())]
    return "\n".join(lines) + "\n"


def _is_list_of_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):  # JSON's escapes are TOML's, but for DEL, which TOML wants escaped
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, int | float):
        whole = int(value)
        return str(whole) if whole == value else repr(value)
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_value(inner)}" for key, inner in value.items() if inner is not None) + " }"
    return "[" + ", ".join(map(_value, value)) + "]"
