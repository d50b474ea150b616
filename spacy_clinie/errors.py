"""Every error and warning of the package, in one place.

Messages say what to do next and are filled with file names, line numbers, ids, types and counts,
never with document text: a log must not become a second copy of the notes.
Codes: 0xx annotation, 1xx schema, 2xx corpora, 3xx models, 4xx components and scoring, 5xx command line.
"""

import warnings
from typing import Any

MESSAGES = {
    # Annotation
    "CIE001": (
        "Relation {index} cannot be read as a relation: {problem}. Assign a list of (head, tail, label[, score]) with "
        "head and tail as spans or as indexes into doc.spans['clinie'], of spacy-llm RelationItems, "
        "or rel_component's dictionary of pairs."
    ),
    "CIE002": (
        "The tokenizer changed the text of note {note!r} ({expected} characters in, {found} out), so offsets cannot be "
        "trusted. Use a tokenizer that keeps the text as it is, such as 'spacy_clinie.ClinicalTokenizer.v1'."
    ),
    "CIE003": (
        "Another library has registered doc._.rel with a getter of its own, so spacy_clinie cannot provide it. "
        "Use spacy_clinie.get_relations(doc) and spacy_clinie.set_relations(doc, relations) instead."
    ),
    "CIE004": "Concept {concept!r} of note {note!r} runs from {start} to {end}, outside the text (length {length}).",
    "CIE005": (
        "A {kind} of note {note!r} is not usable: {problem}. Expected keys: {expected}."
    ),
    "CIE006": "Relation {label!r} of note {note!r} names a concept that the note does not have: {concept!r}.",
    # Schema
    # Corpora
    # Models
    # Components and scoring
    # Command line
}


class ClinieError(ValueError):
    """An error with a code of `MESSAGES`.

    code (str): The code, also the start of the message.
    **facts (Any): What fills the message. Never document text.
    """

    def __init__(self, code: str, **facts: Any) -> None:
        super().__init__(f"[{code}] {MESSAGES[code].format(**facts)}")
        self.code = code
        self.facts = facts

    def __reduce__(self) -> tuple:
        # An exception whose constructor takes other arguments than its message cannot be unpickled, which
        # makes a worker process die without a word.
        return _rebuild, (self.code, self.facts)


class ClinieWarning(UserWarning):
    """A warning with a code of `MESSAGES`."""


def _rebuild(code: str, facts: dict[str, Any]) -> ClinieError:
    return ClinieError(code, **facts)


def warn(code: str, **facts: Any) -> None:
    """Warn with a code of `MESSAGES`.

    code (str): The code.
    **facts (Any): What fills the message. Never document text.
    """
    warnings.warn(f"[{code}] {MESSAGES[code].format(**facts)}", ClinieWarning, stacklevel=2)
