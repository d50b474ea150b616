"""What a language model answered about a Doc, before it is written to the Doc."""

from collections import Counter
from typing import NamedTuple, Optional

# First token, one past the last, label.
Key = tuple[int, int, str]


class FoundConcept(NamedTuple):
    """A concept that the model named.

    key (Key): First token, one past the last, label.
    score (Optional[float]): Probability of its tokens; None if the model gives none.
    status (str): How its offsets were found, see `prompts.constraints.Mention`.
    """

    key: Key
    score: Optional[float]
    status: str


class FoundRelation(NamedTuple):
    """A relation that the model named.

    head (Key): First token, one past the last, label of the head.
    tail (Key): The same of the tail.
    label (str): Relation type.
    score (Optional[float]): Probability of its tokens; None if the model gives none.
    """

    head: Key
    tail: Key
    label: str
    score: Optional[float]


class Answer(NamedTuple):
    """The answers about a Doc.

    concepts (list[FoundConcept]): The concepts.
    relations (list[FoundRelation]): Relations between them.
    rejected (Counter[str]): How many concepts or relations were rejected, by reason, and how many questions were
        `unanswered`.
    """

    concepts: list[FoundConcept]
    relations: list[FoundRelation]
    rejected: Counter[str]
