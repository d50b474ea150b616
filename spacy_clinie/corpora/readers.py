"""Readers for `spacy train`: a corpus that names its schema, a part of it drawn by seed, and a mix of several."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any, Optional, Union

from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Corpus, Example
from spacy.training.corpus import walk_corpus

from ..annotation import ID_KEY, SCHEMA_KEY
from ..errors import ClinieError, warn
from .splits import overlapping, ranked


def corpus(
    *,
    path: Path,
    schema: Optional[Union[str, Path]] = None,
    apart_from: Optional[Path] = None,
    limit: int = 0,
    seed: int = 0,
) -> Callable[[Language], Iterator[Example]]:
    """Docs as `convert` writes them. Registered as `spacy_clinie.Corpus.v1`.

    path (Path): A `.spacy` file, or a folder of such.
    schema (Optional[Union[str, Path]]): Name or file of the schema that every Doc is to be read with; None for the one
        of the component.
    apart_from (Optional[Path]): A `.spacy` file, or a folder of such, that is tested on: Docs that share text with one
        of its Docs are left out, with a warning (CIE469).
    limit (int): How many Docs are drawn; 0 for all. More contain the fewer that the same seed draws.
    seed (int): Another seed draws others.
    RETURNS (Callable[[Language], Iterator[Example]]): A reader.
    """

    def read(nlp: Language) -> Iterator[Example]:
        docs = _docs(nlp, path)
        others = [] if apart_from is None else _docs(nlp, apart_from)
        shared = set(overlapping((doc.text for doc in docs), (doc.text for doc in others)))
        if shared:
            warn("CIE469", count=len(shared), path=Path(path).name)
            docs = [doc for i, doc in enumerate(docs) if i not in shared]
        if limit:
            drawn = ranked([str(doc.user_data.get(ID_KEY, i)) for i, doc in enumerate(docs)], seed)
            docs = [docs[i] for i in sorted(drawn[:limit])]
        for doc in docs:
            predicted = nlp.make_doc(doc.text)
            if schema is not None:
                predicted.user_data[SCHEMA_KEY] = doc.user_data[SCHEMA_KEY] = str(schema)
            yield Example(predicted, doc)

    return read


def mixed(
    *, corpora: dict[str, Any], weights: Optional[dict[str, float]] = None, seed: int = 0
) -> Callable[[Language], Iterator[Example]]:
    """Several corpora in one, shuffled. Registered as `spacy_clinie.Mixed.v1`.

    corpora (dict[str, Callable[[Language], Iterable[Example]]]): Readers by name.
    weights (Optional[dict[str, float]]): How often each Doc of a corpus is seen, 1.0 where nothing is said: 0.5 draws
        half of them, 2.5 takes all of them twice and half of them once more.
    seed (int): Another seed draws others and orders them otherwise.
    RETURNS (Callable[[Language], Iterator[Example]]): A reader.
    RAISES (ClinieError): CIE468 for a weight of no corpus, or one that is not above 0.
    """
    shares: Mapping[str, float] = weights or {}
    for name, weight in shares.items():
        if name not in corpora or not weight > 0:
            raise ClinieError("CIE468", name=name, weight=weight, corpora=", ".join(corpora))

    def read(nlp: Language) -> Iterator[Example]:
        random = Random(seed)
        found: list[Example] = []
        for name, reader in corpora.items():
            own, weight = list(reader(nlp)), shares.get(name, 1.0)
            whole = int(weight)
            found += own * whole + random.sample(own, round((weight - whole) * len(own)))
        random.shuffle(found)
        yield from found

    return read


def _docs(nlp: Language, path: Path) -> list[Doc]:
    return list(Corpus(path).read_docbin(nlp.vocab, walk_corpus(path, ".spacy")))
