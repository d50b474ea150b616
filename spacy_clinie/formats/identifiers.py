"""Relations between identifiers, as of a drug and a disease: a corpus that has them does not say between which of their
mentions they stand."""

import re
from collections.abc import Iterable, Sequence
from itertools import product

from ..doc.note import Concept


def identifiers_of(value: str) -> set[str]:
    """The identifiers of a mention, of which a mention of several things has several.

    value (str): As it stands in a file: one, or several with `|`, `,` or `;` between them.
    RETURNS (set[str]): All of it, and each part.
    """
    return {value, *(part.strip() for part in re.split("[|,;]", value))} - {""}


def closest(heads: Iterable[Concept], tails: Sequence[Concept]) -> tuple[Concept, Concept] | None:
    """The two mentions with the fewest characters between them.

    heads (Iterable[Concept]): Mentions of one identifier.
    tails (Sequence[Concept]): Mentions of another.
    RETURNS (tuple[Concept, Concept] | None): The first such pair of several; None if there is no pair.
    """
    pairs = ((head, tail) for head, tail in product(heads, tails) if head is not tail)

    def distance(pair: tuple[Concept, Concept]) -> int:
        head, tail = pair
        return max(head.start - tail.end, tail.start - head.end, 0)

    return min(pairs, key=distance, default=None)
