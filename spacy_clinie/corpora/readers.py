"""Readers for `spacy train`: a corpus with a schema, a random sample of it, and a mix of corpora."""

import functools
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
from ..formats.reading import find_corpus_files
from .splits import overlapping, ranked


def corpus(
    *,
    path: Path,
    label_schema: Optional[Union[str, Path]] = None,
    apart_from: Optional[Path] = None,
    limit: int = 0,
    seed: int = 0,
) -> Callable[[Language], Iterator[Example]]:
    """Read Docs from `convert`. Registered as `spacy_clinie.Corpus.v1`.

    path (Path): A `.spacy` file, or a folder of such files.
    label_schema (Optional[Union[str, Path]]): Name or file of the schema of the Docs; None for the schema of the
        component.
    apart_from (Optional[Path]): A `.spacy` file with evaluation data, or a folder of such files. Docs that share text
        with it are left out, with a warning (CIE469).
    limit (int): Number of Docs to sample; 0 for all. A larger sample with the same seed contains the smaller ones.
    seed (int): Seed of the sample.
    RETURNS (Callable[[Language], Iterator[Example]]): A reader. It raises CIE200 or CIE201 for a missing file, and
        CIE439 for a damaged one.
    RAISES (ClinieError): CIE307 for a limit below 0.
    """
    if limit < 0:
        raise ClinieError("CIE307", setting="limit", value=limit, choices="at least 0")
    # An absolute path, because a pipeline may be used from another folder.
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
            # Not nlp.make_doc, which refuses texts longer than nlp.max_length.
            predicted = nlp.tokenizer(doc.text)
            if named is not None:
                predicted.user_data[SCHEMA_KEY] = doc.user_data[SCHEMA_KEY] = named
            yield Example(predicted, doc)

    return read


def mixed(
    *, corpora: dict[str, Any], weights: Optional[dict[str, float]] = None, seed: int = 0
) -> Callable[[Language], Iterator[Example]]:
    """Mix and shuffle several corpora. Registered as `spacy_clinie.Mixed.v1`.

    corpora (dict[str, Callable[[Language], Iterable[Example]]]): Readers by name.
    weights (Optional[dict[str, float]]): How often to use each Doc of a corpus, by default 1.0. With 0.5, half of the
        Docs are sampled (at least one); with 2.5, all are used twice and half of them once more.
    seed (int): Seed of samples and order.
    RETURNS (Callable[[Language], Iterator[Example]]): A reader.
    RAISES (ClinieError): CIE468 for a weight that is not above 0 or belongs to no corpus; CIE473 for an invalid reader.
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


# A file, its modification time and its size.
_Stamp = tuple[Path, int, int]


def _files(path: Path) -> tuple[_Stamp, ...]:
    files = [file for file, _ in find_corpus_files(Path(path), (".spacy",), Report())]
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
    """Indexes of the Docs that share text with others. Cached, because this takes longer than reading the Docs, and
    spaCy reads a corpus several times before training and once per epoch."""
    texts, other_texts = ((doc.text for doc in _docs(part, Vocab())) for part in (files, others))
    return frozenset(overlapping(texts, other_texts))
