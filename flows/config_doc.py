"""Makes docs/configuration.md from the configuration's classes.

``python -m flows.config_doc > docs/configuration.md``
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import inspect as types

from flows.config import Config

_HEAD = """# Configuration

One TOML file, strict: an unknown key is an error that names the nearest known one. Every key has a default; this page
is made from the classes in `flows/config.py` by `python -m flows.config_doc`.
"""


def page() -> str:
    """Return the whole page."""
    return "\n".join([_HEAD, *_section("", Config)])


def _section(path: str, kind: type[Any]) -> Iterator[str]:
    info = types.type_info(kind)
    if not isinstance(info, types.StructType):
        return
    title = f"`[{path}]`" if path and not path.endswith("]]") else (f"`{path}`" if path else "Top level")
    yield f"## {title}\n\n{inspect.getdoc(kind)}\n"
    plain = [field for field in info.fields if _inner(field.type) is None]
    if plain:
        yield "| key | default | what may stand there |\n|---|---|---|"
        yield (
            "\n".join(f"| `{field.encode_name}` | {_default(field)} | {_words(field.type)} |" for field in plain) + "\n"
        )
    for field in info.fields:
        inner = _inner(field.type)
        if inner is None:
            continue
        name = f"{path.strip('[]')}.{field.encode_name}" if path else field.encode_name
        yield from _section(f"[[{name}]]" if isinstance(field.type, types.VarTupleType) else name, inner)


def _inner(kind: types.Type) -> type[Any] | None:
    """Return the class of a table or of an array of tables."""
    if isinstance(kind, types.VarTupleType):
        kind = kind.item_type
    return kind.cls if isinstance(kind, types.StructType) else None


def _default(field: types.Field) -> str:
    if field.required:
        return "required"
    value = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
    return f"`{msgspec.json.encode(value).decode()}`" if value is not None else "none"


def _words(kind: types.Type) -> str:  # noqa: PLR0911 one line per type
    match kind:
        case types.LiteralType(values=values):
            return ", ".join(f"`{value}`" for value in values)
        case types.VarTupleType(item_type=item):
            return f"a list of: {_words(item)}"
        case types.UnionType(types=parts):
            return " or ".join(_words(part) for part in parts if not isinstance(part, types.NoneType))
        case types.DictType(value_type=value):
            return f"a table; each value {_words(value)}"
        case types.IntType() | types.FloatType():
            return ("a whole number" if isinstance(kind, types.IntType) else "a number") + _bounds(kind)
        case types.StrType(pattern=pattern):
            return f"text like `{pattern}`" if pattern else "text"
        case types.BoolType():
            return "true or false"
        case types.DateType():
            return "a date"
    return type(kind).__name__


def _bounds(kind: types.IntType | types.FloatType) -> str:
    words = [("from", kind.ge), ("above", kind.gt), ("up to", kind.le), ("below", kind.lt)]
    found = [f"{word} {bound:,}" for word, bound in words if bound is not None]
    return f", {' '.join(found)}" if found else ""


if __name__ == "__main__":
    sys.stdout.write(page())
