"""Relations between identifiers, for example of a drug and a disease, where a corpus does not say which mentions are
related."""

import re
from collections.abc import Iterable, Sequence
from itertools import product

from ..doc.note import Concept


def split_identifiers(value: str) -> set[str]:
    """The identifiers of a mention.

    value (str): One identifier, or several separated by `|`, `,` or `;`.
    RETURNS (set[str]): The whole value and each part.
    """
    return {value, *(part.strip() for part in re.split("[|,;]", value))} - {""}


def closest_pair(heads: Iterable[Concept], tails: Sequence[Concept]) -> tuple[Concept, Concept] | None:
    """The two mentions with the fewest characters between them.

    heads (Iterable[Concept]): Mentions of one identifier.
    tails (Sequence[Concept]): Mentions of another.
    RETURNS (tuple[Concept, Concept] | None): The first pair with the smallest distance; None if there is no pair.
    """
    pairs = ((head, tail) for head, tail in product(heads, tails) if head is not tail)

    def distance(pair: tuple[Concept, Concept]) -> int:
        head, tail = pair
        return max(head.start - tail.end, tail.start - head.end, 0)

    return min(pairs, key=distance, default=None)
