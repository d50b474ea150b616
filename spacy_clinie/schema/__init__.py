"""What can be extracted: concept types and relation types, from files that people write."""

from .schema import BUNDLED, ConceptType, RelationType, Schema, bundled

__all__ = ["BUNDLED", "ConceptType", "RelationType", "Schema", "bundled"]
