"""What a language model said about a Doc, before it is written there."""

from collections import Counter
from typing import NamedTuple, Optional

# First token, one past the last, label.
Key = tuple[int, int, str]


class FoundConcept(NamedTuple):
    """A concept that the model named.

    key (Key): First token, one past the last, label.
    score (Optional[float]): Probability of the choices that made it; None where a model does not tell.
    status (str): How its place was found, see `prompts.machines.Mention`.
    """

    key: Key
    score: Optional[float]
    status: str


class FoundRelation(NamedTuple):
    """A relation that the model named.

    head (Key): First token, one past the last, label of the head.
    tail (Key): Of the tail.
    label (str): Relation type.
    score (Optional[float]): Probability of the choices that made it; None where a model does not tell.
    """

    head: Key
    tail: Key
    label: str
    score: Optional[float]


class Answer(NamedTuple):
    """What the model said about a Doc.

    concepts (list[FoundConcept]): Concepts that the Doc holds.
    relations (list[FoundRelation]): Relations between them.
    rejected (Counter[str]): How many concepts were rejected, by reason, and how many questions were `unanswered`.
    """

    concepts: list[FoundConcept]
    relations: list[FoundRelation]
    rejected: Counter[str]
