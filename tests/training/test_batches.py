"""Batches for `spacy train`."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import spacy
from spacy import registry

from spacy_clinie.corpora.readers import corpus, mixed
from spacy_clinie.doc.concepts import SCHEMA_KEY


def test_batches_of_one_schema_hold_everything_in_turns(write_corpus: Callable[[str, int], Path]) -> None:
    nlp = spacy.blank("en")
    schemas = {"a": "phee", "b": "chia", "c": None}
    examples = list(
        mixed(corpora={name: corpus(path=write_corpus(name, 20), label_schema=schemas[name]) for name in schemas})(nlp)
    )
    inner = {"@batchers": "spacy.batch_by_sequence.v1", "size": 3}
    config = {"batcher": {"@batchers": "spacy_clinie.BatchBySchema.v1", "batcher": inner}}
    batches = list(registry.resolve(config)["batcher"](examples))
    named = [[example.reference.user_data.get(SCHEMA_KEY) for example in batch] for batch in batches]
    assert all(len(set(names)) == 1 for names in named)
    assert sorted(len(names) for names in named) == [2] * 3 + [3] * 18
    assert sorted(map(id, (one for batch in batches for one in batch))) == sorted(map(id, examples))
    turns = [names[0] for names in named]
    assert sum(one != other for one, other in pairwise(turns)) > 2
