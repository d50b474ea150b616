"""Readers for `spacy train`: a corpus that names its schema, a part of it drawn by seed, a mix of several, and batches
of one schema."""

import functools
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from math import inf
from pathlib import Path
from random import Random
from typing import Any, Optional, Union

from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.training import Example
from spacy.vocab import Vocab

from ..doc.concepts import ID_KEY, SCHEMA_KEY
from ..doc.report import Report
from ..errors import ClinieError, warn
from ..formats.bundle import find_bundles
from .splits import overlapping, ranked


def corpus(
    *,
    path: Path,
    label_schema: Optional[Union[str, Path]] = None,
    apart_from: Optional[Path] = None,
    limit: int = 0,
    seed: int = 0,
) -> Callable[[Language], Iterator[Example]]:
    """Docs as `convert` writes them. Registered as `spacy_clinie.Corpus.v1`.

    path (Path): A `.spacy` file, or a folder of such.
    label_schema (Optional[Union[str, Path]]): Name or file of the schema that every Doc is to be read with; None for
        the one of the component.
    apart_from (Optional[Path]): A `.spacy` file, or a folder of such, that is tested on: Docs that share text with one
        of its Docs are left out, with a warning (CIE469).
    limit (int): How many Docs are drawn; 0 for all. More contain the fewer that the same seed draws.
    seed (int): Another seed draws others.
    RETURNS (Callable[[Language], Iterator[Example]]): A reader. It raises CIE200 or CIE201 where there is no such file,
        and CIE439 for a damaged one.
    RAISES (ClinieError): CIE307 for a limit below 0.
    """
    if limit < 0:
        raise ClinieError("CIE307", setting="limit", value=limit, choices="0, 1, 2, ...")
    # A file is named in full: a pipeline may be used from another folder.
    named = (
        None
        if label_schema is None
        else str(Path(label_schema).resolve() if Path(label_schema).is_file() else label_schema)
    )

    def read(nlp: Language) -> Iterator[Example]:
        files = _files(path)
        docs = _docs(files, nlp.vocab)
        shared = frozenset[int]() if apart_from is None else _shared(files, _files(apart_from))
        if shared:
            warn("CIE469", count=len(shared), path=Path(path).name)
            docs = [doc for i, doc in enumerate(docs) if i not in shared]
        if limit:
            drawn = ranked([str(doc.user_data.get(ID_KEY, i)) for i, doc in enumerate(docs)], seed)
            docs = [docs[i] for i in sorted(drawn[:limit])]
        for doc in docs:
            # Not nlp.make_doc: it refuses notes of more than nlp.max_length characters.
            predicted = nlp.tokenizer(doc.text)
            if named is not None:
                predicted.user_data[SCHEMA_KEY] = doc.user_data[SCHEMA_KEY] = named
            yield Example(predicted, doc)

    return read


def mixed(
    *, corpora: dict[str, Any], weights: Optional[dict[str, float]] = None, seed: int = 0
) -> Callable[[Language], Iterator[Example]]:
    """Several corpora in one, shuffled. Registered as `spacy_clinie.Mixed.v1`.

    corpora (dict[str, Callable[[Language], Iterable[Example]]]): Readers by name.
    weights (Optional[dict[str, float]]): How often each Doc of a corpus is seen, 1.0 where nothing is said: 0.5 draws
        half of them (one at least), 2.5 takes all of them twice and half of them once more.
    seed (int): Another seed draws others and orders them otherwise.
    RETURNS (Callable[[Language], Iterator[Example]]): A reader.
    RAISES (ClinieError): CIE468 for a weight of no corpus, or one that is not above 0; CIE473 for what is no reader.
    """
    shares: Mapping[str, float] = weights or {}
    for name, reader in corpora.items():
        if not callable(reader):
            raise ClinieError("CIE473", name=name)
    for name, weight in shares.items():
        if name not in corpora or not 0 < weight < inf:
            raise ClinieError("CIE468", name=name, weight=weight, corpora=", ".join(corpora))

    def read(nlp: Language) -> Iterator[Example]:
        drawing = Random(seed)
        found: list[Example] = []
        for name, reader in corpora.items():
            own, weight = list(reader(nlp)), shares.get(name, 1.0)
            whole = int(weight)
            part = round((weight - whole) * len(own))
            found += own * whole + drawing.sample(own, max(part, int(not whole and bool(own))))
        drawing.shuffle(found)
        yield from found

    return read


def batch_by_schema(
    *, batcher: Callable[[Iterable[Example]], Iterable[list[Example]]]
) -> Callable[[Iterable[Example]], Iterator[list[Example]]]:
    """Batches of Docs that name the same schema, in random order. A language model reads what its prompts begin with
    once for each schema in a batch, and that is often longer than the notes. Registered as
    `spacy_clinie.BatchBySchema.v1`.

    batcher (Callable[[Iterable[Example]], Iterable[list[Example]]]): Makes batches of the Docs of each schema.
    RETURNS (Callable[[Iterable[Example]], Iterator[list[Example]]]): A batcher.
    """

    def batch(examples: Iterable[Example]) -> Iterator[list[Example]]:
        groups: defaultdict[str, list[Example]] = defaultdict(list)
        for example in examples:
            groups[str(example.reference.user_data.get(SCHEMA_KEY) or "")].append(example)
        batches = [one for own in groups.values() for one in batcher(own)]
        # spaCy seeds this generator, and shuffles the examples with it.
        random.shuffle(batches)
        yield from batches

    return batch


# A file, when it was written, and its size.
_Stamp = tuple[Path, int, int]


def _files(path: Path) -> tuple[_Stamp, ...]:
    files = [file for file, _ in find_bundles(Path(path), (".spacy",), Report())]
    return tuple((file, file.stat().st_mtime_ns, file.stat().st_size) for file in files)


def _docs(files: Iterable[_Stamp], vocab: Vocab) -> list[Doc]:
    docs: list[Doc] = []
    for file, *_ in files:
        try:
            docs += DocBin().from_disk(file).get_docs(vocab)
        except Exception as error:  # a damaged file can raise anything
            raise ClinieError("CIE439", file=file.name, problem=type(error).__name__) from error
    return docs


@functools.lru_cache(maxsize=64)
def _shared(files: tuple[_Stamp, ...], others: tuple[_Stamp, ...]) -> frozenset[int]:
    """Indexes of the Docs that share text with others. It is kept: to find them takes longer than to read the Docs, and
    spaCy reads a corpus several times before the first step of training, and once for each pass."""
    texts, other_texts = ((doc.text for doc in _docs(part, Vocab())) for part in (files, others))
    return frozenset(overlapping(texts, other_texts))
