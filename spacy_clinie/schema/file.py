"""Reads, validates and completes the YAML file of a schema. Errors name the file, the key and the remedy.

People write these files by hand, so validation is stricter than YAML: duplicate and unknown keys are errors.
"""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import yaml

from ..errors import ClinieError

HEAD = "{head}"
_TOP = ("name", "description", "concepts", "relations", "drop")
# Messages do not quote top-level keys: a note given by mistake would be read as such.
_TOP_LEVEL_KEY = "a top-level key"

# PyYAML with libyaml loads the larger bundled files many times as fast.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(file: Path) -> Any:
    """Read a YAML file and refuse duplicate keys.

    file (Path): The file.
    RETURNS (Any): Its content, not validated otherwise.
    RAISES (ClinieError): CIE102 if it cannot be read, CIE108 for a duplicate key.
    RAISES (FileNotFoundError): If it does not exist.
    """
    try:
        loader = _Loader(file.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        if node is None:
            return None
        if isinstance(node, yaml.MappingNode):
            seen: set[yaml.Node] = set()
            for key, value in node.value:
                if key.value in _TOP:
                    _check_keys(value, file, key.value, seen)
            _check_duplicates([key for key, _ in node.value if key.value in _TOP], file)
        return loader.construct_document(node)
    except (ClinieError, FileNotFoundError):
        raise
    except OSError as error:
        problem = error.strerror or type(error).__name__
    except UnicodeDecodeError as error:
        problem = f"byte {error.start} is not UTF-8"
    except RecursionError:
        problem = "it is nested too deeply or refers to itself"
    except ValueError:
        problem = "a value looks like a date or number, but is not valid: put it in quotes"
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        # The message of PyYAML quotes the file, which may be a note given by mistake.
        problem = f"not YAML at line {mark.line + 1}, column {mark.column + 1}" if mark else "not YAML"
    raise ClinieError("CIE102", file=file, problem=problem)


def to_yaml(record: Mapping[str, Any]) -> str:
    """A schema as YAML that is easy to edit: types in order, lists of names in one line.

    record (Mapping[str, Any]): The output of `Schema.to_dict`.
    RETURNS (str): YAML.
    """
    return yaml.dump(record, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=110)


def validate(record: Any, source: str | Path) -> dict[str, Any]:
    """Validate the content of a schema file, and add defaults.

    record (Any): The content.
    source (Union[str, Path]): The name of the file in messages.
    RETURNS (dict[str, Any]): `name`, `description`, `concepts` (by name: `description`, `question`, `merge`),
        `relations` (the same, `pairs` and `symmetric`), `dropped_concepts` and `dropped_relations`.
    RAISES (ClinieError): CIE103 to CIE109.
    """
    top = _Value(record, str(source)).parts(_TOP)
    for key, remedy in (("name", "Add `name: ...`."), ("concepts", "List the concept types under `concepts:`.")):
        if key not in top:
            raise ClinieError("CIE105", file=source, key=key, remedy=remedy)
    concepts = {name: _concept(name, part) for name, part in top["concepts"].parts().items()}
    if not concepts:
        raise ClinieError("CIE105", file=source, key="concepts", remedy="List at least one concept type.")
    specs = top["relations"].parts() if "relations" in top else {}
    relations = {name: _relation(name, part, concepts) for name, part in specs.items()}
    drop = top["drop"].parts(["concepts", "relations"]) if "drop" in top else {}
    dropped = {section: part.names() for section, part in drop.items()}
    _check_names(concepts, dropped.get("concepts", ()), "concepts", source)
    _check_names(relations, dropped.get("relations", ()), "relations", source)
    return {
        "name": top["name"].text(),
        "description": _prose(top, "description", default=""),
        "concepts": concepts,
        "relations": relations,
        "dropped_concepts": dropped.get("concepts", ()),
        "dropped_relations": dropped.get("relations", ()),
    }


def concept_description(name: str) -> str:
    """The default description of a concept type."""
    return f"Mentions of {_words(name)}."


def relation_description(name: str) -> str:
    """The default description of a relation type."""
    return f"The head has the relation {_words(name)} to the tail."


def concept_question(name: str) -> str:
    """The default question for a concept type.

    name (str): The type.
    RETURNS (str): A question.
    """
    return f"Which mentions of {_words(name)} are there?"


def relation_question(name: str) -> str:
    """The default question for a relation type.

    name (str): The type.
    RETURNS (str): A question with the placeholder `{head}`.
    """
    return f"Which mentions does {HEAD} have the relation {_words(name)} to?"


def did_you_mean(name: str, names: Sequence[str]) -> str:
    """Suggest an existing name for an unknown one.

    name (str): The unknown name.
    names (Sequence[str]): The existing names.
    RETURNS (str): The most similar one, as part of a sentence; empty if none is similar.
    """
    by_lower = {other.lower(): other for other in names}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return f" (did you mean {by_lower[found[0]]!r}?)" if found else ""


class _Value(NamedTuple):
    """A value of the file and its location."""

    value: Any
    file: str
    path: str = ""

    def parts(self, known: Sequence[str] = ()) -> dict[str, "_Value"]:
        """The values of a mapping, by key. With `known`, other keys are errors, and empty values are ignored."""
        listed = f" with {', '.join(f'`{key}:`' for key in known)}" if known else ""
        if not isinstance(self.value, Mapping):
            self.fail("a mapping", f"Write it as indented lines of `key: value`{listed}.")
        if known and not self.path and not set(known) & set(self.value):
            # Not a schema, perhaps a note: a message must not quote it.
            raise ClinieError("CIE105", file=self.file, key="every key of a schema", remedy=f"Begin it{listed}.")
        for key in self.value:
            if not isinstance(key, str) or not key:
                remedy = "YAML does not read NO, ON and numbers as text: put the key in quotes."
                _Value(key, self.file, self._below(key) if self.path else _TOP_LEVEL_KEY).fail(
                    "a key in plain text", remedy
                )
        for key in self.value:
            if known and key not in known:
                hint = did_you_mean(key, known)
                path = self._below(key) if self.path or hint else _TOP_LEVEL_KEY
                raise ClinieError("CIE104", file=self.file, key=path, hint=hint, known=", ".join(known))
        filled = {key: value for key, value in self.value.items() if not (known and value is None)}
        return {key: _Value(value, self.file, self._below(key)) for key, value in filled.items()}

    def text(self) -> str:
        """A non-empty text."""
        if not isinstance(self.value, str) or not self.value.strip():
            self.fail("text", "Write some, in quotes if it looks like a number, date or boolean.")
        return self.value

    def boolean(self) -> bool:
        """A boolean."""
        if not isinstance(self.value, bool):
            self.fail("a boolean", "Write true or false.")
        return self.value

    def items(self) -> list["_Value"]:
        """The values of a list."""
        if not isinstance(self.value, (list, tuple)):
            self.fail("a list", "Write it as [A, B], or as lines that start with a hyphen.")
        return [_Value(item, self.file, f"{self.path}[{i}]") for i, item in enumerate(self.value)]

    def names(self) -> tuple[str, ...]:
        """The values of a list of names."""
        return tuple(item.text() for item in self.items())

    def fail(self, expected: str, remedy: str) -> NoReturn:
        """Raise for a value of the wrong type."""
        key = self.path or "the whole file"
        raise ClinieError("CIE103", file=self.file, key=key, expected=expected, found=_kind(self.value), remedy=remedy)

    def _below(self, key: Any) -> str:
        return f"{self.path}.{key}" if self.path else str(key)


def _prose(parts: Mapping[str, _Value], key: str, default: str) -> str:
    return parts[key].text().strip() if key in parts else default


def _concept(name: str, part: _Value) -> dict[str, Any]:
    # A type may be just `Drug:` without settings.
    spec = part.parts(["description", "question", "merge"]) if part.value is not None else {}
    return {
        "description": _prose(spec, "description", default=concept_description(name)),
        "question": _prose(spec, "question", default=concept_question(name)),
        "merge": spec["merge"].names() if "merge" in spec else (),
    }


def _relation(name: str, part: _Value, concepts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    known = ["description", "question", "pairs", "merge", "symmetric"]
    spec = part.parts(known) if part.value is not None else {}
    pairs = spec["pairs"].items() if "pairs" in spec else []
    if not pairs:
        remedy = "List the types that head and tail can have: `pairs: [[HEAD, TAIL], ...]`."
        raise ClinieError("CIE105", file=part.file, key=f"{part.path}.pairs", remedy=remedy)
    listed = [_pair(pair, concepts) for pair in pairs]
    symmetric = spec["symmetric"].boolean() if "symmetric" in spec else False
    question = _prose(spec, "question", default=relation_question(name))
    if HEAD not in question:
        raise ClinieError("CIE109", file=part.file, key=f"{part.path}.question")
    return {
        "description": _prose(spec, "description", default=relation_description(name)),
        "question": question,
        "pairs": tuple(dict.fromkeys(one for pair in listed for one in ([pair, pair[::-1]] if symmetric else [pair]))),
        "merge": spec["merge"].names() if "merge" in spec else (),
        "symmetric": symmetric,
    }


def _pair(part: _Value, concepts: Mapping[str, Mapping[str, Any]]) -> tuple[str, str]:
    ends = part.items()
    if len(ends) != 2:
        raise ClinieError(
            "CIE103",
            file=part.file,
            key=part.path,
            expected="a pair",
            found=f"a list of {len(ends)}",
            remedy="Write it as [HEAD, TAIL], with the concept types of head and tail.",
        )
    head, tail = (end.text() for end in ends)
    for name in (head, tail):
        if name not in concepts:
            into = [concept for concept, spec in concepts.items() if name in spec["merge"]]
            hint = f" (it is merged into {into[0]!r})" if into else did_you_mean(name, list(concepts))
            remedy = f"Use one of these, or add it under `concepts:`: {', '.join(concepts)}."
            raise ClinieError("CIE106", file=part.file, key=part.path, type=name, hint=hint, remedy=remedy)
    return head, tail


def _check_names(
    types: Mapping[str, Mapping[str, Any]], dropped: Iterable[str], section: str, source: str | Path
) -> None:
    """Raise if a type of the data is mapped twice."""
    places = {name: f"{section}.{name}" for name in types}
    claims = [(raw, f"{section}.{name}.merge") for name, spec in types.items() for raw in spec["merge"] if raw != name]
    claims += [(raw, f"drop.{section}") for raw in dropped]
    for raw, key in claims:
        if raw in places:
            raise ClinieError("CIE107", file=source, key=key, type=raw, other=places[raw])
        places[raw] = key


def _check_keys(node: yaml.Node, file: Path, path: str, seen: set[yaml.Node]) -> None:
    """Raise for a duplicate key in a mapping, of which PyYAML would silently keep the last. `seen` holds checked nodes,
    because aliases can expand a few lines to too many values."""
    if node in seen:
        return
    if isinstance(node, yaml.SequenceNode):
        for i, item in enumerate(node.value):
            _check_keys(item, file, f"{path}[{i}]", seen)
    if isinstance(node, yaml.MappingNode):
        _check_duplicates([key for key, _ in node.value], file, f"{path}.")
        for key, value in node.value:
            _check_keys(value, file, f"{path}.{key.value}", seen)
    seen.add(node)  # at the end, so that a node that refers to itself raises


def _check_duplicates(keys: Iterable[yaml.Node], file: Path, before: str = "") -> None:
    lines: dict[str, int] = {}
    for key in keys:
        if isinstance(key, yaml.ScalarNode):
            line = key.start_mark.line + 1
            if key.value in lines:
                raise ClinieError("CIE108", file=file, key=before + key.value, first=lines[key.value], second=line)
            lines[key.value] = line


class _Dumper(yaml.SafeDumper):
    # Indent the lines of a list below its key.
    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        super().increase_indent(flow, False)


def _list_node(dumper: yaml.SafeDumper, items: list) -> yaml.Node:
    names = all(isinstance(item, str) for item in items)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=names)


_Dumper.add_representer(list, _list_node)


def _words(name: str) -> str:
    """A type name as words: `LivingStatus` is living status, `Time_elapsed` time elapsed, and `ADE` stays."""
    parts = re.sub(r"(?<=[a-z])(?=[A-Z])|[_\s]+", " ", name).split()
    return " ".join(part if part.isupper() else part.lower() for part in parts)


def _kind(value: Any) -> str:
    if value is None or value == "":
        return "empty"
    kinds = {str: "text", bool: "a boolean", int: "a number", float: "a number", list: "a list", dict: "a mapping"}
    return kinds.get(type(value), f"a {type(value).__name__}")
