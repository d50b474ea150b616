"""Scorers for `spacy train` and `spacy evaluate`, without intervals, which would slow down every evaluation."""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from spacy.tokens import Doc
from spacy.training import Example

from ..doc.concepts import SPANS_KEY, has_concepts
from ..doc.interchange import note_from_doc
from ..doc.note import Note
from .counts import Counts, count, rates
from .match import Kind
from .scores import check_texts

Scorer = Callable[..., dict[str, Any]]


def make_concept_scorer() -> Scorer:
    """Make the scorer of concepts. Registered as `spacy_clinie.concept_scorer.v1`.

    RETURNS (Scorer): `score_concepts`.
    """
    return score_concepts


def make_relation_scorer() -> Scorer:
    """Make the scorer of relations. Registered as `spacy_clinie.relation_scorer.v1`.

    RETURNS (Scorer): `score_relations` end to end, on predicted concepts.
    """
    return _score_end_to_end


def make_scorer() -> Scorer:
    """Make the scorer of concepts and relations. Registered as `spacy_clinie.scorer.v1`.

    RETURNS (Scorer): The scores of both other scorers.
    """
    return _score_both


# Not closures of the functions above: a pipeline with those cannot be pickled.
def _score_end_to_end(examples: Iterable[Example], symmetric: Collection[str] = (), **_cfg: Any) -> dict[str, Any]:
    return score_relations(((eg.reference, eg.predicted) for eg in examples), symmetric=symmetric)


def _score_both(examples: Iterable[Example], **cfg: Any) -> dict[str, Any]:
    pairs = list(examples)
    return {**score_concepts(pairs), **_score_end_to_end(pairs, **cfg)}


def score_concepts(examples: Iterable[Example], **_cfg: Any) -> dict[str, Any]:
    """Score all concepts, including overlapping ones.

    As in spaCy's scorers, documents whose reference has no annotation (neither `doc.spans["clinie"]` nor `doc.ents`)
    are skipped, and all values are None if there is nothing to score.

    examples (Iterable[Example]): References and predictions.
    **_cfg (Any): Arguments that spaCy passes to every scorer; unused.
    RETURNS (dict[str, Any]): `concepts_p`, `_r`, `_f` and `concepts_per_type` (strict), `concepts_lenient_p`, `_r`,
        `_f`; the strict ones again as `spans_clinie_*`, which `spacy evaluate --spans-key clinie` prints.
    RAISES (ClinieError): CIE400 if the texts of a reference and a prediction differ.
    """
    docs = [(eg.reference, eg.predicted) for eg in examples if has_concepts(eg.reference)]
    scores = _spacy_scores(_notes(docs), "concepts", "concepts")
    for part in ("p", "r", "f", "per_type"):
        scores[f"spans_{SPANS_KEY}_{part}"] = scores[f"concepts_{part}"]
    return scores


def score_relations(
    docs: Iterable[tuple[Doc, Doc]], prefix: str = "relations", symmetric: Collection[str] = ()
) -> dict[str, Any]:
    """Score relations by their type and the types and offsets of both ends.

    Documents whose reference has no relation annotation (`doc._.rel` was never set) are skipped, and all values are
    None if there is nothing to score.

    docs (Iterable[tuple[Doc, Doc]]): References and predictions. For scores on gold concepts, predict on these.
    prefix (str): Start of the keys: `relations` end to end, `relations_gold` on gold concepts.
    symmetric (Collection[str]): Relation types without a direction.
    RETURNS (dict[str, Any]): `{prefix}_p`, `_r`, `_f`, `_per_type` (strict), `{prefix}_lenient_p`, `_r`, `_f`.
    RAISES (ClinieError): CIE400 if the texts of a reference and a prediction differ.
    """
    pairs = _notes(docs)
    for note in (note for pair in pairs for note in pair):
        places = {concept.id: concept.offsets for concept in note.concepts}
        for one in note.relations:
            if one.label in symmetric and places[one.head] > places[one.tail]:
                one.head, one.tail = one.tail, one.head
    return _spacy_scores(pairs, "relations", prefix)


def _notes(docs: Iterable[tuple[Doc, Doc]]) -> list[tuple[Note, Note]]:
    pairs = [(note_from_doc(reference), note_from_doc(predicted)) for reference, predicted in docs]
    for gold, predicted in pairs:
        check_texts(gold, predicted)
    return pairs


def _spacy_scores(pairs: Sequence[tuple[Note, Note]], kind: Kind, prefix: str) -> dict[str, Any]:
    strict, lenient = count(pairs, kind, "strict"), count(pairs, kind, "lenient")
    scores: dict[str, Any] = {**_micro(strict, prefix), **_micro(lenient, f"{prefix}_lenient")}
    per_type = {label: _prf(total) for label, total in zip(strict.labels, strict.table.sum(axis=0), strict=True)}
    scores[f"{prefix}_per_type"] = per_type or None
    return scores


def _micro(counts: Counts, prefix: str) -> dict[str, Any]:
    prf = _prf(counts.table.sum(axis=(0, 1))) if counts.labels else dict.fromkeys("prf")
    return {f"{prefix}_{key}": value for key, value in prf.items()}


def _prf(total: Any) -> dict[str, float]:
    return dict(zip("prf", rates(total).tolist(), strict=True))
