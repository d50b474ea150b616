"""Batches for `spacy train`."""

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from spacy.training import Example

from ..doc.concepts import SCHEMA_KEY


def batch_by_schema(
    *, batcher: Callable[[Iterable[Example]], Iterable[list[Example]]]
) -> Callable[[Iterable[Example]], Iterator[list[Example]]]:
    """Batch Docs with the same schema together, in random order. A language model reads the shared prefix of its
    prompts once per schema in a batch, and this prefix is often longer than the notes. Registered as
    `spacy_clinie.BatchBySchema.v1`.

    batcher (Callable[[Iterable[Example]], Iterable[list[Example]]]): Makes batches from the Docs of each schema.
    RETURNS (Callable[[Iterable[Example]], Iterator[list[Example]]]): A batcher.
    """

    def batch(examples: Iterable[Example]) -> Iterator[list[Example]]:
        groups: defaultdict[str, list[Example]] = defaultdict(list)
        for example in examples:
            groups[str(example.reference.user_data.get(SCHEMA_KEY) or "")].append(example)
        batches = [one for own in groups.values() for one in batcher(own)]
        # spaCy seeds this generator and also shuffles examples with it.
        random.shuffle(batches)
        yield from batches

    return batch
