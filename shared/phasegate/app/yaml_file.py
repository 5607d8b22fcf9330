"""A YAML file as JSON, with the line of each value and the problems of the file.

The type of a bare word follows YAML 1.2's core schema, as in Terraform, which reads the same files: `06:00`, `2013-01-01`, `on`
and `no` are text. Aliases are allowed, merge keys are not.
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from phasegate.core.field_syntax import EXACT, place
from phasegate.errors import ConfigError, Problem

At = tuple[str | int, ...]

MAX_LEVELS = 50
"""The deepest nesting that is accepted; the deepest value of a pipeline file is on level 11."""
MAX_VALUES = 100_000
"""The most values that are accepted, so that aliases of aliases can't fill the memory."""

_CORE = "tag:yaml.org,2002:"
STR, BOOL, INT, FLOAT = f"{_CORE}str", f"{_CORE}bool", f"{_CORE}int", f"{_CORE}float"
NULL, MAP, SEQ = f"{_CORE}null", f"{_CORE}map", f"{_CORE}seq"
_SCALARS: Mapping[str, Callable[[str], object]] = {
    STR: str,
    BOOL: lambda text: {"true": True, "false": False}[text.lower()],
    INT: int,
    FLOAT: lambda text: _decimal(text),
}


def _decimal(text: str) -> float | str:
    """A decimal for JSON; when a float can't have all its digits, they go as text, see `EXACT`."""
    number = float(text)
    return number if math.isfinite(number) and Decimal(repr(number)) == Decimal(text) else f"{EXACT}{text}"


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """PyYAML's safe loader, in C where available, with the bare words of YAML 1.2 and a limit on nesting."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (PyYAML's own attribute)
    depth = 0

    # The C parser has no recursion limit of its own: a long line of brackets would crash the process. It calls these two
    # methods on the way down and up.
    def descend_resolver(self, _parent: Node | None, _index: object) -> None:
        """Enter a level; RecursionError when it is one too many."""
        self.depth += 1
        if self.depth > MAX_LEVELS:
            raise RecursionError

    def ascend_resolver(self) -> None:
        """Leave a level."""
        self.depth -= 1


# Source: YAML 1.2.2, section 10.3.2, without 0o and 0x.
for _tag, _pattern, _starts in (
    (NULL, r"null|Null|NULL|~|", ("n", "N", "~", "")),
    (BOOL, r"true|True|TRUE|false|False|FALSE", tuple("tTfF")),
    (INT, r"[-+]?[0-9]+", tuple("-+0123456789")),
    (FLOAT, r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", tuple("-+.0123456789")),
    (FLOAT, r"[-+]?(\.inf|\.Inf|\.INF)|\.nan|\.NaN|\.NAN", tuple("-+.")),
):
    Loader.add_implicit_resolver(_tag, re.compile(f"^({_pattern})$", re.ASCII), _starts)


class YamlFile:
    """The values of a file as JSON text, the line and node of each value by its path, and the problems so far.

    Raises:
        ConfigError: There is no such file, it is not a single YAML document in UTF-8, or it is too large.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: dict[At, int] = {}
        self.nodes: dict[At, Node] = {}
        self._problems: list[tuple[int, Problem]] = []
        self.json = json.dumps(self._value(_root(path), (), 1))

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Every problem once, by line."""
        return tuple(problem for _, problem in sorted(dict.fromkeys(self._problems), key=lambda each: each[0]))

    def note(self, at: At, expected: str, got: str = "", hint: str = "", *, line: int | None = None) -> None:
        """Add a problem at the path of a value."""
        self._add(line or self.lines[at], Problem(printable(place(*at)), expected, got, hint))

    def add(self, problems: Sequence[Problem]) -> None:
        """Add problems from elsewhere, whose paths were made by `place`."""
        lines = {place(*at): line for at, line in self.lines.items()} if problems else {}
        for problem in problems:
            # A missing key has no line, but the value around it does.
            nearest = max((path for path in lines if problem.path.startswith(path)), key=len)
            self._add(lines[nearest], problem)

    def _add(self, line: int, problem: Problem) -> None:
        path = ": ".join(part for part in (f"{self.path}:{line}", problem.path) if part)
        self._problems.append((line, Problem(path, problem.expected, problem.got, problem.hint)))

    def _value(self, node: Node, at: At, line: int) -> object:
        self.lines[at], self.nodes[at] = line, node
        if len(self.nodes) > MAX_VALUES:
            raise _unreadable(str(self.path), f"expected at most {MAX_VALUES:,} values, aliases followed")
        if len(at) > MAX_LEVELS:  # an alias can contain itself
            raise _unreadable(str(self.path), f"expected at most {MAX_LEVELS} levels of nesting")
        if isinstance(node, MappingNode) and node.tag == MAP:
            return {key.value: self._value(value, (*at, key.value), _line(key)) for key, value in self._entries(node, at)}
        if isinstance(node, SequenceNode) and node.tag == SEQ:
            return [self._value(item, (*at, n), _line(item)) for n, item in enumerate(node.value)]
        try:
            return _SCALARS[node.tag](node.value)
        except (KeyError, ValueError):
            # No field accepts NaN, not even one that accepts null: that refuses keys without a value, and invalid values.
            return math.nan

    def _entries(self, node: MappingNode, at: At) -> Iterator[tuple[ScalarNode, Node]]:
        """Each key with its value; a key that occurs again is noted as a problem and skipped."""
        first: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                self.note(at, "expected a key that is text", describe(key), line=_line(key))
            elif key.value in first:
                before = f"first on line {first[key.value]}"
                self.note((*at, key.value), "expected once", "it again", before, line=_line(key))
            else:
                # A key is always text, whatever it looks like, as in JSON and Terraform.
                first[key.value] = _line(key)
                yield key, value


def _root(path: Path) -> Node:
    """The file's top node.

    Raises:
        ConfigError: There is no such file, or it is not a single YAML document in UTF-8.
    """
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig")
        node = yaml.compose(text, Loader=Loader)
    except OSError as error:
        raise _unreadable(str(path), "expected a file that can be read", error.strerror or "") from error
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _unreadable(f"{path}:{line}", "expected UTF-8", f"the byte 0x{content[error.start]:02x}") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = ", ".join(part for part in (error.context, error.problem) if part)
        raise _unreadable(f"{path}:{mark.line + 1}" if mark else str(path), f"not YAML: {message}") from error
    except yaml.YAMLError as error:
        raise _unreadable(str(path), f"not YAML: {str(error).splitlines()[0]}") from error
    except RecursionError as error:
        raise _unreadable(str(path), f"expected at most {MAX_LEVELS} levels of nesting") from error
    if node is None:
        raise _unreadable(str(path), "expected a pipeline", "an empty file")
    return node


def _unreadable(where: str, expected: str, got: str = "") -> ConfigError:
    return ConfigError(problems=[Problem(where, expected, got)])


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1


def printable(text: str) -> str:
    """Text from a file for one line of a message: shortened, and without control characters."""
    short = text if len(text) <= 120 else f"{text[:119]}…"
    return "".join(letter if letter.isprintable() else "·" for letter in short)


def describe(node: Node) -> str:
    """A value of the file in a few words."""
    if node.tag not in (*_SCALARS, NULL, MAP, SEQ):
        return printable(f"a value tagged {node.tag}")
    if isinstance(node, SequenceNode):
        return f"a list of {len(node.value)}"
    if isinstance(node, MappingNode):
        return "a mapping"
    text = printable(node.value)
    return "nothing" if node.tag == NULL else f'"{text}"' if node.tag == STR else text
