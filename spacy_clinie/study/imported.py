"""Everything that a fold imports, for the server that folds are forked off: spaCy imports the factories of all
installed packages with the first pipeline, which takes seconds."""

import spacy

from . import fold  # noqa: F401

spacy.blank("en")
