"""Schemas: which concept types and relation types to extract."""

from .schema import BUNDLED, ConceptType, RelationType, Schema, bundled

__all__ = ["BUNDLED", "ConceptType", "RelationType", "Schema", "bundled"]
