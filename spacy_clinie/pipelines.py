"""Trained pipelines that come with the package, and the loading of any pipeline."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Optional, Union

import spacy
from safetensors import SafetensorError
from spacy.language import Language
from spacy.pipeline.transition_parser import Parser
from spacy.util import (
    dict_to_dot,
    get_model_meta,
    get_package_path,
    import_file,
    is_package,
    load_config,
    registry,
)
from thinc.api import ConfigValidationError

from .components.trainable import ClinieComponent
from .errors import ClinieError
from .schema import Schema

_FOLDER = Path(__file__).parent / "data" / "pipelines"


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
    folder = _folder(pipeline)
    try:
        for name in _unknown(folder, **options):
            raise ClinieError("CIE448", pipeline=pipeline, name=name)
        return spacy.load(pipeline, **options)
    except ClinieError:
        raise
    except ConfigValidationError as error:
        rows = [f"{' -> '.join(map(str, row['loc']))}: {row['msg']}" for row in error.errors]
        raise ClinieError("CIE446", pipeline=pipeline, problems="; ".join(rows) or error.desc) from error
    except OSError as error:
        problem = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
        raise ClinieError("CIE442", pipeline=pipeline, problem=problem.rstrip(".")) from error
    except (ValueError, SafetensorError) as error:
        raise ClinieError("CIE442", pipeline=pipeline, problem=str(error).rstrip(".")) from error


def _folder(pipeline: Union[str, Path]) -> Path:
    """Where the files of a pipeline lie.

    pipeline (Union[str, Path]): What `spacy.load` takes.
    RETURNS (Path): The folder, which has a `config.cfg` or a `meta.json` at least.
    RAISES (ClinieError): CIE430 if there is no such pipeline.
    """
    folder = Path(pipeline)
    if isinstance(pipeline, str) and is_package(pipeline):
        root = get_package_path(pipeline)  # imports it, and with it what it registers
        if (root / "meta.json").is_file():
            meta = get_model_meta(root)
            folder = root / f"{meta['lang']}_{meta['name']}-{meta['version']}"
    if not any((folder / name).is_file() for name in ("config.cfg", "meta.json")):
        raise ClinieError("CIE430", pipeline=pipeline, bundled=", ".join(bundled()) or "none yet")
    return folder


def _unknown(
    folder: Path, config: Mapping[str, Any] = MappingProxyType({}), exclude: Union[str, Iterable[str]] = (), **_: Any
) -> Iterator[str]:
    """The factories and registered functions that a pipeline needs and that nobody has registered.

    folder (Path): The folder of the pipeline.
    config (Mapping[str, Any]): See `spacy.load`.
    exclude (Union[str, Iterable[str]]): See `spacy.load`.
    YIELDS (str): Their names.
    """
    settings = load_config(
        folder / "config.cfg", overrides=dict_to_dot(dict(config), for_overrides=True), interpolate=True
    )
    if not settings.get("nlp", {}).get("lang"):  # spaCy says what such a file lacks
        return
    left_out = {exclude} if isinstance(exclude, str) else set(exclude)
    names = [name for name in settings["nlp"].get("pipeline", []) if name not in left_out]
    sections = settings.get("components", {})
    components = [sections[name] for name in names if name in sections]
    has_factory = spacy.blank(settings["nlp"]["lang"]).has_factory  # a pipeline imports those of other packages
    yield from (one["factory"] for one in components if "factory" in one and not has_factory(one["factory"]))
    named = _functions([settings["nlp"], *components])
    yield from (name for kind, name in named if not registry.has(kind, name))


def _functions(settings: Any) -> Iterator[tuple[str, str]]:
    """The registered functions that settings name, each with its registry."""
    for key, value in settings.items() if isinstance(settings, dict) else enumerate(settings):
        if isinstance(value, (dict, list)):
            yield from _functions(value)
        elif isinstance(key, str) and key.startswith("@"):
            yield key[1:], value
