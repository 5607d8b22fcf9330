"""Read pipeline files, and say with file, line and path everything that is wrong with one.

The dataclasses of `core` are the model: pydantic checks files against them, and writes the JSON Schema for editors. A field
named `from_` is written `from`, a key that the class does not have is refused, and nothing is converted: a quoted "5" is no
number, 1 is no text. A key without a value is refused too; what is optional is left out.
"""

import ast
import inspect
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

from pydantic import ConfigDict, GetCoreSchemaHandler, TypeAdapter, ValidationError, with_config
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import ErrorDetails, core_schema
from yaml.nodes import MappingNode, Node, ScalarNode

from phasegate.app.yaml_file import STR, At, YamlFile, printable, shown
from phasegate.core.checks import base, kinds
from phasegate.core.checks.kinds import KINDS, Check
from phasegate.core.field_syntax import Between, FieldSyntax, Tagged
from phasegate.core.pipeline import model
from phasegate.core.pipeline.model import Pipeline
from phasegate.core.pipeline.validate import problems
from phasegate.errors import ConfigError, Problem

Schema = dict[str, Any]


ExtraProblems = Callable[[Pipeline], Iterable[Problem]]
"""Looks for further problems in a pipeline whose file is right so far."""


def load(path: Path, *, more: ExtraProblems | None = None) -> Pipeline:
    """The pipeline that a file describes.

    Raises:
        ConfigError: The file cannot be read or is wrong; carries every problem, by line.
    """
    file = YamlFile(path)
    try:
        found = _adapter().validate_json(file.json)
        file.add((*problems(found), *(more(found) if more else ())))
    except ValidationError as error:
        _tell(error, file)
    except OverflowError:
        file.note((), "expected dates before the year 10000")
    if file.problems:
        raise ConfigError(problems=file.problems)
    return found


def load_all(path: Path, *, more: ExtraProblems | None = None) -> tuple[Pipeline, ...]:
    """The pipelines of a file, or of every *.yaml file of a folder, by file name.

    Raises:
        ConfigError: As for `load`, with the problems of all files; or there is no file, or two have one name.
    """
    if not path.is_dir():
        return (load(path, more=more),)
    found: dict[str, tuple[Path, Pipeline]] = {}
    # Terraform reads *.yaml alone; a pipeline that nobody reads would look like one without trouble.
    problems = [Problem(str(file), "expected the ending .yaml") for file in sorted(path.glob("*.yml"))]
    for file in sorted(path.glob("*.yaml")):
        try:
            read = load(file, more=more)
        except ConfigError as error:
            problems += error.problems
            continue
        other, _ = found.setdefault(read.name, (file, read))
        if other != file:
            problems.append(Problem(f"{file}: pipeline", f"expected another name than in {other}", f'"{read.name}"'))
    if not found and not problems:
        problems.append(Problem(str(path), "expected at least one file *.yaml"))
    if problems:
        raise ConfigError(problems=problems)
    return tuple(read for _, read in found.values())


_WORDS = {
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
"""What pydantic's types of errors mean. Source: docs.pydantic.dev, "Validation Errors"."""


def _words(error: ErrorDetails) -> str:
    key = error["loc"][-1] if error["loc"] else ""
    if error["type"] == "missing" and isinstance(key, int):
        return "expected a longer list"
    values = {"msg": error["msg"], "key": printable(str(key)), **error.get("ctx", {})}
    return _WORDS.get(error["type"], "{msg}").format_map(values)


def _tell(error: ValidationError, file: YamlFile) -> None:
    """Add pydantic's errors to a file's problems. Of several types that were tried, the one that came furthest tells."""
    tried: dict[At, list[str]] = {}
    told: list[At] = []
    for each in error.errors(include_url=False):
        at: At = ()
        for key in each["loc"]:  # it also names types that were tried, and a missing key
            at = (*at, key) if (*at, key) in file.nodes else at
        node, words, last = file.nodes[at], _words(each), each["loc"][-1:]
        if each["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
            hint = _meant(str(at[-1]), _keys(at[:-1], json_schema()))
            file.note(at[:-1], words, hint=hint, line=file.lines[at])
        elif last == ("[key]",):
            file.note(at, words, f'"{printable(str(at[-1]))}"')
        elif each["type"] == "missing" or (each["type"] == "value_error" and isinstance(node, MappingNode)):
            file.note(at, words)
        elif last == at[-1:]:
            file.note(at, words, shown(node), _hint(each, node))
        else:
            tried.setdefault(at, []).append(words)
            continue
        told.append(at)
    for at, several in tried.items():
        if not any(path[: len(at)] == at for path in told):
            file.note(at, " or ".join(several).replace(" or expected ", " or "), shown(file.nodes[at]))


def _hint(error: ErrorDetails, node: Node) -> str:
    text = printable(node.value) if isinstance(node, ScalarNode) else ""
    match error["type"]:
        case "enum" if close := get_close_matches(text, re.findall("'(.*?)'", error["ctx"]["expected"]), n=1):
            return f"did you mean {close[0]}?"
        case "string_type" if text and node.tag != STR:
            return f'write "{text}"'
        case "tuple_type" if text and node.tag == STR:
            return f"write [{text}]"
        case "dict_type" if text in KINDS:
            return f"write {text}: {{…}}"
    return ""


def _meant(word: str, known: Sequence[str]) -> str:
    """What a wrong word may have meant: the closest known one, and all when they are few or none is close."""
    close = [f"did you mean {near}?" for near in get_close_matches(word, known, n=1)]
    every = [f"known: {', '.join(known)}"] if len(known) <= 12 or not close else []
    return " ".join(close + every)


def _keys(at: At, part: Schema) -> list[str]:
    """The keys that the mapping at a path may have, by a part of the JSON Schema."""
    if "$ref" in part:
        return _keys(at, json_schema()["$defs"][part["$ref"].rpartition("/")[2]])
    if "anyOf" in part:
        return [key for option in part["anyOf"] for key in _keys(at, option)]
    properties = part.get("properties", {})
    if not at:
        return [*properties]
    return _keys(at[1:], part["items"] if isinstance(at[0], int) else properties.get(at[0]) or part["additionalProperties"])


# `core` does not know pydantic, which asks types, and marks beside them, for methods of these names. They are set from here.
def _written(mark: FieldSyntax, _source: object, _handler: object) -> core_schema.CoreSchema:
    # No notation has a place for no text at all; what the parser says then is what to say of a number, too.
    return core_schema.no_info_plain_validator_function(lambda value: mark.parse(value if isinstance(value, str) else ""))


def _pattern(mark: FieldSyntax, _core: object, _handler: object) -> Schema:
    return {"type": "string", "pattern": mark.pattern, "examples": [mark.example]}


def _bounded(mark: Between, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
    number: Any = handler(source)
    number |= {name: bound for name, bound in {"ge": mark.low, "le": mark.high}.items() if bound is not None}
    return cast(core_schema.CoreSchema, number)


def _tagged(_mark: Tagged, _source: object, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
    fields = {name: core_schema.typed_dict_field(handler.generate_schema(kind), required=False) for name, kind in KINDS.items()}
    item = core_schema.typed_dict_schema(fields, extra_behavior="forbid")
    return core_schema.no_info_after_validator_function(_only, item)


def _only(item: Mapping[str, Check]) -> Check:
    if len(item) != 1:
        raise ValueError("one key, the kind of check")
    (check,) = item.values()
    return check


setattr(FieldSyntax, "__get_pydantic_core_schema__", _written)  # noqa: B010
setattr(FieldSyntax, "__get_pydantic_json_schema__", _pattern)  # noqa: B010
setattr(Between, "__get_pydantic_core_schema__", _bounded)  # noqa: B010
setattr(Tagged, "__get_pydantic_core_schema__", _tagged)  # noqa: B010


def _key(field: str) -> str:
    """What a field is called in the file: `from_` is written `from`."""
    return field.rstrip("_")


@cache
def _adapter() -> TypeAdapter[Pipeline]:
    config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, alias_generator=_key)
    return TypeAdapter(with_config(config)(Pipeline))


class _ForEditors(GenerateJsonSchema):
    """Writes the schema without titles of fields, and without null: what is optional is left out."""

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
        classes = {base.__name__ for base in schema["cls"].__mro__}
        for (owner, name), text in _docs().items():
            if owner in classes:
                described["properties"][_key(name)]["description"] = text
        return described


@cache
def _docs() -> Mapping[tuple[str, str], str]:
    """The text below each field, by class and field, bases first; Python keeps it in the source only."""
    found = {}
    source = "\n".join(inspect.getsource(module) for module in (base, kinds, model))
    for made in [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]:
        for pair in pairwise(made.body):
            match pair:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    found[made.name, name] = inspect.cleandoc(text)
    return found


@cache
def json_schema() -> Schema:
    """The JSON Schema (draft 2020-12) of a pipeline file. What only the whole file can tell is left to `load`."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:phasegate:pipeline",
        **_adapter().json_schema(schema_generator=_ForEditors),
        "title": "Pipeline file of phasegate",
    }


def schema_text() -> str:
    """The content of `shared/pipelines/pipeline.schema.json`."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
