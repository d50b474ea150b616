"""Everything that a fold imports, for the server that folds are forked from. With the first pipeline, spaCy imports the
factories of all installed packages, which takes seconds."""

import spacy

from . import fold  # noqa: F401

spacy.blank("en")
