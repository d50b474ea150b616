"""Concepts and relations out of clinical notes, as a spaCy plug-in."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional, Union

from spacy.language import Language
from spacy.tokens import Doc

from .doc.relations import get_relations, register_extension, set_relations

if TYPE_CHECKING:
    from .schema import Schema

__version__ = "0.1.0"
__all__ = ["get_relations", "load", "set_relations"]

# spaCy imports this package wherever it is installed: a `rel` of others is theirs until a component of ours is made.
if not Doc.has_extension("rel"):
    register_extension()


def load(pipeline: Union[str, Path], schema: Optional[Union[str, Path, "Schema"]] = None, **options: Any) -> Language:
    """Load a trained pipeline, see `pipelines.load`."""
    from .pipelines import load as run

    return run(pipeline, schema, **options)
