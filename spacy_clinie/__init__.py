"""Concepts and relations out of clinical notes, as a spaCy plug-in."""

from .annotation import get_relations, register_extension, set_relations

__version__ = "0.1.0"
__all__ = ["get_relations", "set_relations"]

register_extension()
