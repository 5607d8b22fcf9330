"""Read pipeline files, and report everything that is wrong in one with file, line and path.

The dataclasses of `core` are the model: pydantic validates files against them and writes the JSON Schema for editors. A field
named `from_` is written `from`. Unknown keys are errors, and nothing is converted: a quoted "5" is not a number, 1 is not text.
A key without a value is an error, too; leave optional keys out.
"""

import ast
import inspect
import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from difflib import get_close_matches
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

from pydantic import ConfigDict, GetCoreSchemaHandler, TypeAdapter, ValidationError, with_config
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import ErrorDetails, core_schema
from yaml.nodes import MappingNode, Node, ScalarNode

from phasegate.app.yaml_file import NULL, STR, At, YamlFile, describe, printable
from phasegate.core.checks.kinds import KINDS, Check
from phasegate.core.field_syntax import EXACT, Between, Exact, FieldNames, FieldSyntax, OneOrMany, OneOrMore, Tagged
from phasegate.core.pipeline.model import Pipeline
from phasegate.core.pipeline.validate import problems
from phasegate.errors import ConfigError, Problem

Schema = dict[str, Any]


ExtraProblems = Callable[[Pipeline], Iterable[Problem]]
"""Finds further problems in a pipeline whose file is valid so far."""


def load(path: Path, *, more: ExtraProblems | None = None) -> Pipeline:
    """The pipeline that a file describes.

    Raises:
        ConfigError: The file cannot be read or is wrong; has every problem, by line.
    """
    file = YamlFile(path)
    try:
        pipeline = _adapter().validate_json(file.json)
        file.add((*problems(pipeline), *(more(pipeline) if more else ())))
    except ValidationError as error:
        _note_errors(error, file)
        file.add(_further_problems(error, file, more))
    except OverflowError:
        file.note((), "expected dates before the year 10000")
    if file.problems:
        raise ConfigError(problems=file.problems)
    return pipeline


def _further_problems(error: ValidationError, file: YamlFile, more: ExtraProblems | None) -> Sequence[Problem]:
    """What is wrong besides the checks at fault, so that one broken check does not hide the rest of the file."""
    content = json.loads(file.json)
    for each in error.errors(include_url=False):
        loc = each["loc"]
        if "checks" not in loc[:-1]:
            return ()
        at = loc.index("checks") + 1
        checks = content
        for key in loc[:at]:
            checks = checks[key]
        # A valid check with a unique name replaces it, so that the other checks keep their places.
        checks[loc[at]] = {"row_count": {"at_least": 1, "name": f"{EXACT}{loc[:at]}{loc[at]}"}}
    try:
        pipeline = _adapter().validate_json(json.dumps(content))
    except (ValidationError, OverflowError):
        return ()
    return (*problems(pipeline), *(more(pipeline) if more else ()))


def load_all(path: Path, *, more: ExtraProblems | None = None) -> tuple[Pipeline, ...]:
    """The pipelines of a file, or of every *.yaml file of a folder, by file name.

    Raises:
        ConfigError: As for `load`, with the problems of all files; or there is no file, or two pipelines have the same name.
    """
    if not path.is_dir():
        return (load(path, more=more),)
    by_name: dict[str, tuple[Path, Pipeline]] = {}
    # Not hidden files, which editors and archivers leave, like .#shop.yaml and ._shop.yaml.
    # Terraform reads *.yaml only. A file that nobody reads would look like a pipeline without problems.
    problems = [Problem(str(file), "expected the ending .yaml") for file in sorted(path.glob("[!.]*.yml"))]
    for file in sorted(path.glob("[!.]*.yaml")):
        try:
            pipeline = load(file, more=more)
        except ConfigError as error:
            problems += error.problems
            continue
        other, _ = by_name.setdefault(pipeline.name, (file, pipeline))
        if other != file:
            problems.append(
                Problem(f"{file}: pipeline", f"expected a name that differs from the one in {other}", f'"{pipeline.name}"')
            )
    if not by_name and not problems:
        problems.append(Problem(str(path), "expected at least one file *.yaml"))
    if problems:
        raise ConfigError(problems=problems)
    return tuple(pipeline for _, pipeline in by_name.values())


_MESSAGES = {
    "missing": 'missing key "{key}"',
    "unexpected_keyword_argument": 'unknown key "{key}"',
    "extra_forbidden": 'unknown kind of check "{key}"',
    "string_type": "expected text",
    "bool_type": "expected true or false",
    "int_type": "expected a whole number",
    "float_type": "expected a number",
    "finite_number": "expected a number",
    "greater_than_equal": "expected a number ≥ {ge:g}",
    "less_than_equal": "expected a number ≤ {le:g}",
    "enum": "expected {expected}",
    "tuple_type": "expected a list",
    "too_long": "expected a list of {max_length}",
    "dict_type": "expected a mapping",
    "dataclass_type": "expected a mapping",
    "value_error": "expected {error}",
}
"""Our messages for pydantic's error types. Source: docs.pydantic.dev, "Validation Errors"."""


def _message(error: ErrorDetails) -> str:
    key = error["loc"][-1] if error["loc"] else ""
    if error["type"] == "missing" and isinstance(key, int):
        return "expected a longer list"
    values = {"msg": error["msg"], "key": printable(str(key)), **error.get("ctx", {})}
    return _MESSAGES.get(error["type"], "{msg}").format_map(values)


def _note_errors(error: ValidationError, file: YamlFile) -> None:
    """Add pydantic's errors to a file's problems.

    For a value of several possible types pydantic reports an error for each. When one of them has got further into the value
    than the value itself, that one is shown; otherwise all are, as alternatives.
    """
    alternatives: dict[At, list[str]] = {}
    noted: list[At] = []
    for each in error.errors(include_url=False):
        at: At = ()
        for key in each["loc"]:  # also has names of types, and keys that are missing in the file
            at = (*at, key) if (*at, key) in file.nodes else at
        node, message, last = file.nodes[at], _message(each), each["loc"][-1:]
        if each["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
            hint = _suggestion(str(at[-1]), _keys(at[:-1], json_schema()))
            file.note(at[:-1], message, hint=hint, line=file.lines[at])
        elif last == ("[key]",):
            file.note(at, message, f'"{printable(str(at[-1]))}"')
        elif each["type"] == "missing" or (each["type"] == "value_error" and isinstance(node, MappingNode)):
            file.note(at, message)
        elif last == at[-1:]:
            file.note(at, message, describe(node), _hint(each, node))
        else:
            alternatives.setdefault(at, []).append(message)
            continue
        noted.append(at)
    for at, messages in alternatives.items():
        if not any(path[: len(at)] == at for path in noted):
            file.note(at, " or ".join(messages).replace(" or expected ", " or "), describe(file.nodes[at]))


def _hint(error: ErrorDetails, node: Node) -> str:
    text = printable(node.value) if isinstance(node, ScalarNode) else ""
    match error["type"]:
        case "enum" if close := get_close_matches(text, re.findall("'(.*?)'", error["ctx"]["expected"]), n=1):
            return f"did you mean {close[0]}?"
        case "string_type" if text and node.tag not in (STR, NULL):
            return f'write "{text}"'
        case "tuple_type" if text and node.tag == STR:
            return f"write [{text}]"
        case "dict_type" if text in KINDS:
            return f"write {text}: {{…}}"
    return ""


def _suggestion(word: str, words: Sequence[str]) -> str:
    """The valid word closest to a wrong one, and all valid words when they are few or none is close."""
    close = [f"did you mean {near}?" for near in get_close_matches(word, words, n=1)]
    every = [f"known: {', '.join(words)}"] if len(words) <= 12 or not close else []
    return " ".join(close + every)


def _keys(at: At, part: Schema) -> list[str]:
    """The keys that the mapping at a path may have, according to a part of the JSON Schema."""
    if "$ref" in part:
        return _keys(at, json_schema()["$defs"][part["$ref"].rpartition("/")[2]])
    if "anyOf" in part:
        return [key for option in part["anyOf"] for key in _keys(at, option)]
    properties = part.get("properties", {})
    if not at:
        return [*properties]
    return _keys(at[1:], part["items"] if isinstance(at[0], int) else properties.get(at[0]) or part["additionalProperties"])


# pydantic looks for methods of these names on types and on what annotates them. `core` does not know pydantic, so they are set
# from here.
def _parsed(mark: FieldSyntax, _source: object, _handler: object) -> core_schema.CoreSchema:
    # Every syntax refuses empty text with what it expects; a number or a list gets the same message.
    return core_schema.no_info_plain_validator_function(lambda value: mark.parse(value if isinstance(value, str) else ""))


def _pattern(mark: FieldSyntax, _core: object, _handler: object) -> Schema:
    return {"type": "string", "pattern": mark.pattern, "examples": [mark.example]}


def _bounded(mark: Between, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
    number: Any = handler(source)
    number |= {name: bound for name, bound in {"ge": mark.low, "le": mark.high}.items() if bound is not None}
    if number["type"] == "float":
        return core_schema.no_info_before_validator_function(_rounded, number)
    return cast(core_schema.CoreSchema, number)


def _rounded(value: object) -> object:
    return float(value[1:]) if isinstance(value, str) and value.startswith(EXACT) else value


def _exact(mark: Exact, _source: object, _handler: object) -> core_schema.CoreSchema:
    return core_schema.no_info_plain_validator_function(partial(_as_written, mark))


def _exact_schema(mark: Exact, _core: object, _handler: object) -> Schema:
    bounds = {name: bound for name, bound in {"minimum": mark.low, "maximum": mark.high}.items() if bound is not None}
    allowed = [("number", True), ("string", mark.text), ("boolean", mark.boolean)]
    kinds: list[Schema] = [{"type": kind} for kind, is_allowed in allowed if is_allowed]
    return {"type": "number", **bounds} if len(kinds) == 1 else {"anyOf": kinds}


def _as_written(mark: Exact, value: object) -> object:
    """The number that the file has, with all its digits."""
    expected = " or ".join(["a number", *(["text"] if mark.text else []), *(["true or false"] if mark.boolean else [])])
    number: object = value
    if isinstance(value, str):
        if not value.startswith(EXACT):
            if mark.text:
                return value
            raise ValueError(expected)
        # A float says whether it is a number of a sensible size.
        number = Decimal(value[1:]) if math.isfinite(size := float(value[1:])) and (size or not Decimal(value[1:])) else None
    elif isinstance(value, float):
        number = Decimal(repr(value)) if math.isfinite(value) else None
    if isinstance(number, bool) and mark.boolean:
        return number
    if isinstance(number, bool) or not isinstance(number, int | Decimal):
        raise ValueError(expected)
    if mark.low is not None and number < mark.low:
        raise ValueError(f"a number ≥ {mark.low}")
    if mark.high is not None and number > mark.high:
        raise ValueError(f"a number ≤ {mark.high}")
    return number


def _names(_mark: OneOrMore, _source: object, _handler: object) -> core_schema.CoreSchema:
    return core_schema.no_info_plain_validator_function(_read_names)


def _read_names(value: object) -> str:
    written: Sequence[object] = value if isinstance(value, list) else [value]
    names = [name for name in written if isinstance(name, str) and name]
    if not names or len(names) < len(written) or len(set(names)) < len(names):
        raise ValueError("a field name, or a list of different ones")
    return FieldNames.of(names) if len(names) > 1 else names[0]


def _one_or_many(_mark: OneOrMany, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
    many: Any = handler(source)
    (one,) = many["items_schema"]
    return core_schema.union_schema([many, core_schema.no_info_after_validator_function(lambda value: (value,), one)])


def _names_schema(_mark: OneOrMore, _core: object, _handler: object) -> Schema:
    name: Schema = {"type": "string", "minLength": 1}
    return {"anyOf": [name, {"type": "array", "items": name, "minItems": 1, "uniqueItems": True}]}


def _tagged(_mark: Tagged, _source: object, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
    fields = {name: core_schema.typed_dict_field(handler.generate_schema(kind), required=False) for name, kind in KINDS.items()}
    item = core_schema.typed_dict_schema(fields, extra_behavior="forbid")
    return core_schema.no_info_after_validator_function(_only, item)


def _only(item: Mapping[str, Check]) -> Check:
    if len(item) != 1:
        raise ValueError("one key, the kind of check")
    (check,) = item.values()
    return check


setattr(FieldSyntax, "__get_pydantic_core_schema__", _parsed)  # noqa: B010
setattr(FieldSyntax, "__get_pydantic_json_schema__", _pattern)  # noqa: B010
setattr(Between, "__get_pydantic_core_schema__", _bounded)  # noqa: B010
setattr(Exact, "__get_pydantic_core_schema__", _exact)  # noqa: B010
setattr(Exact, "__get_pydantic_json_schema__", _exact_schema)  # noqa: B010
setattr(OneOrMany, "__get_pydantic_core_schema__", _one_or_many)  # noqa: B010
setattr(OneOrMore, "__get_pydantic_core_schema__", _names)  # noqa: B010
setattr(OneOrMore, "__get_pydantic_json_schema__", _names_schema)  # noqa: B010
setattr(Tagged, "__get_pydantic_core_schema__", _tagged)  # noqa: B010


def _key(field: str) -> str:
    """The name of a field in the file: `from_` is written `from`."""
    return field.rstrip("_")


@cache
def _adapter() -> TypeAdapter[Pipeline]:
    config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, alias_generator=_key)
    return TypeAdapter(with_config(config)(Pipeline))


class _ForEditors(GenerateJsonSchema):
    """Writes the schema without titles of fields, and without null: optional keys are left out instead."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def nullable_schema(self, schema: core_schema.NullableSchema) -> Schema:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> Schema:
        plain = isinstance(schema.get("default"), str | int | float)
        return super().default_schema(schema) if plain else self.generate_inner(schema["schema"])

    def dict_schema(self, schema: core_schema.DictSchema) -> Schema:
        names, values = (self.generate_inner(schema[part]) for part in ("keys_schema", "values_schema"))
        return {"type": "object", "propertyNames": names, "additionalProperties": values}

    def typed_dict_schema(self, schema: core_schema.TypedDictSchema) -> Schema:
        return super().typed_dict_schema(schema) | {"minProperties": 1, "maxProperties": 1}

    def dataclass_schema(self, schema: core_schema.DataclassSchema) -> Schema:
        described = super().dataclass_schema(schema)
        properties = described["properties"]
        for owner in reversed(schema["cls"].__mro__):
            for (class_name, name), text in _field_docs(owner.__module__).items():
                if class_name == owner.__name__ and _key(name) in properties:
                    properties[_key(name)]["description"] = text
        return described


@cache
def _field_docs(module: str) -> Mapping[tuple[str, str], str]:
    """The text below each field of a module's classes, by class and field. Python keeps it only in the source."""
    if not module.startswith("phasegate."):
        return {}
    docs = {}
    source = inspect.getsource(sys.modules[module])
    for defined in [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]:
        for pair in pairwise(defined.body):
            match pair:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    docs[defined.name, name] = inspect.cleandoc(text)
    return docs


@cache
def json_schema() -> Schema:
    """The JSON Schema (draft 2020-12) of a pipeline file. Rules that span several parts of a file are left to `load`."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:phasegate:pipeline",
        **_adapter().json_schema(schema_generator=_ForEditors),
        "title": "Pipeline file of phasegate",
    }


def schema_text() -> str:
    """The content of `shared/pipelines/pipeline.schema.json`."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
