"""Trained pipelines that come with the package, and the loading of any pipeline."""

import re
import sys
from json import JSONDecodeError
from pathlib import Path
from typing import Any, Optional, Union

import spacy
from safetensors import SafetensorError
from spacy.language import Language
from spacy.pipeline.transition_parser import Parser
from spacy.util import import_file
from thinc.api import ConfigValidationError

from .components.trainable import ClinieComponent
from .errors import ClinieError
from .schema import Schema

_FOLDER = Path(__file__).parent / "data" / "pipelines"
# How spaCy and srsly name a file that is not there.
_MISSING = re.compile(r"(?:\[E053\] .* from|Can't read file:) (.*)")
# How spaCy names a factory or a registered function that it does not know.
_UNKNOWN = re.compile(r"\[E(?:002|893)\] .*? (?:for|function) '([^']*)'")


def bundled() -> tuple[str, ...]:
    """Names of the pipelines that come with the package.

    RETURNS (tuple[str, ...]): In alphabetical order.
    """
    return tuple(sorted(folder.name for folder in _FOLDER.glob("*") if (folder / "config.cfg").is_file()))


def load(
    pipeline: Union[str, Path],
    schema: Optional[Union[str, Path, Schema]] = None,
    code: Optional[Union[str, Path]] = None,
    **options: Any,
) -> Language:
    """Load a trained pipeline; `spacy_clinie.load` is the same. Without spaCy's own parser or ner in it, it reads texts
    of more than a million characters, too.

    pipeline (Union[str, Path]): One that comes with the package (`bundled`), or what `spacy.load` takes: a folder, or
        the name of an installed package.
    schema (Optional[Union[str, Path, Schema]]): A schema, or its name or file: its types are looked for, in place of
        those that the pipeline has by default.
    code (Optional[Union[str, Path]]): A Python file that registers what the pipeline needs of one's own.
    options (Any): More for `spacy.load`, such as `disable`, `vocab`, or `config` with other settings.
    RETURNS (Language): The pipeline.
    RAISES (ClinieError): CIE430 if there is no such pipeline, CIE442 if it cannot be loaded, CIE448 if it needs code
        that was not imported, CIE477 if a file of a component is damaged, CIE302 if its base model is not installed;
        CIE101 to CIE109 for the schema; CIE315 if a component cannot look for its types, CIE319 if no component could.
    """
    if code is not None:
        import_file("python_code", code)
    nlp = _load(_FOLDER / pipeline if str(pipeline) in bundled() else pipeline, options)
    if not any(isinstance(pipe, Parser) for _, pipe in nlp.components):
        nlp.max_length = sys.maxsize  # only spaCy's parser and ner take memory for a text as a whole
    if schema is None:
        return nlp
    components = [pipe for _, pipe in nlp.components if isinstance(pipe, ClinieComponent)]  # those disabled, too
    if not components:
        raise ClinieError("CIE319", pipeline=pipeline)
    for component in components:
        component.use(schema if isinstance(schema, Schema) else Schema.load(schema))
    return nlp


def _load(pipeline: Union[str, Path], options: dict[str, Any]) -> Language:
    try:
        return spacy.load(pipeline, **options)
    except ConfigValidationError as error:
        rows = [f"{' -> '.join(map(str, row['loc']))}: {row['msg']}" for row in error.errors]
        raise ClinieError("CIE446", pipeline=pipeline, problems="; ".join(rows) or error.desc) from error
    except (OSError, ValueError, SafetensorError) as error:
        is_there = any(Path(pipeline, name).is_file() for name in ("config.cfg", "meta.json"))
        if str(error).startswith(("[E050]", "[E052]", "[E053]")) and not is_there:
            raise ClinieError("CIE430", pipeline=pipeline, bundled=", ".join(bundled()) or "none yet") from error
        unknown = _UNKNOWN.match(str(error))
        if unknown:
            raise ClinieError("CIE448", pipeline=pipeline, name=unknown[1]) from error
        named = _MISSING.match(str(error))
        if isinstance(error, ValueError) and not isinstance(error, JSONDecodeError) and not named:
            raise
        file = named[1] if named else getattr(error, "filename", None) or "one of its files"
        problem = getattr(error, "strerror", None) or "cannot be read"
        raise ClinieError("CIE442", pipeline=pipeline, file=file, problem=problem) from error
