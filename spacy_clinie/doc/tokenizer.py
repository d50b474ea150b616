"""A tokenizer for clinical text, with a token boundary wherever a concept may start or end.

spaCy's English tokenizer keeps "25mg", "po/iv", "x3d" or "fever;pt" as one token, and a Span cannot end inside a token.
Here, a token is a run of letters, a number, or one other character, without a list of exceptions. The text is never
changed.
"""

import re
from collections.abc import Callable

from spacy.language import Language
from spacy.tokenizer import Tokenizer
from spacy.vocab import Vocab

# Part of the surrounding word: combining accents, soft hyphens, and zero-width characters from PDF files.
_INSIDE = r"\u0300-\u036f\u00ad\u200b-\u200d\u2060"
_LETTER = rf"(?:[^\W\d_]|[{_INSIDE}])"

# Between two non-space characters, cut ...
_CUTS = (
    rf"(?<={_LETTER})(?!{_LETTER}|$)",  # after a word: x|3, fever|;
    rf"(?<!^)(?<!{_LETTER})(?={_LETTER})",  # before a word: 25|mg, ;|pt
    r"(?<=\d)(?!\d|\.\d|,\d{3}(?!\d)|$)",  # after a number, but not in 0.5 or 1,200
    r"(?<!^)(?<!\d)(?<!\d\.)(?<!\d,)(?=\d)",  # before a number
    r"(?<=\d,)(?=\d)(?!\d{3}(?!\d))",  # after a comma between numbers: 0,|1
    rf"(?<=[^\w{_INSIDE}]|_)(?=[^\w{_INSIDE}]|_)",  # between two other characters: )|.
    rf"(?<=(?<!{_LETTER})[Nn][Oo][Nn])(?={_LETTER}{{4}})",  # after a negating prefix: non|smoker
)


def make_tokenizer(vocab: Vocab) -> Tokenizer:
    """Make the clinical tokenizer. As a spaCy Tokenizer, it supports special cases.

    vocab (Vocab): The vocabulary.
    RETURNS (Tokenizer): The tokenizer.
    """
    return Tokenizer(vocab, infix_finditer=re.compile("|".join(_CUTS)).finditer)


def create_clinical_tokenizer() -> Callable[[Language], Tokenizer]:
    """Create a factory of the clinical tokenizer. Registered as `spacy_clinie.ClinicalTokenizer.v1`, for
    `[nlp.tokenizer]` of a config.

    RETURNS (Callable[[Language], Tokenizer]): Makes the tokenizer of a pipeline.
    """

    def create(nlp: Language) -> Tokenizer:
        return make_tokenizer(nlp.vocab)

    return create
