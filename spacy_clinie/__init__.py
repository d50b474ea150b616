"""Concepts and relations out of clinical notes, as a spaCy plug-in."""

from pathlib import Path
from typing import Optional, Union

from spacy.language import Language

from .annotation import get_relations, register_extension, set_relations

__version__ = "0.1.0"
__all__ = ["get_relations", "load", "set_relations"]

register_extension()


def load(pipeline: Union[str, Path], schema: Optional[Union[str, Path]] = None) -> Language:
    """Load a trained pipeline, see `pipelines.load`."""
    from .pipelines import load as run

    return run(pipeline, schema)
