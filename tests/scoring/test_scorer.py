import json

import pytest
from spacy.cli.evaluate import evaluate as spacy_evaluate
from spacy.language import Language
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Example

from spacy_clinie.doc.concepts import add_concepts
from spacy_clinie.doc.interchange import doc_from_note
from spacy_clinie.doc.note import Concept, Note, Relation
from spacy_clinie.doc.relations import set_relations
from spacy_clinie.errors import ClinieError
from spacy_clinie.scoring.scorer import make_concept_scorer, make_relation_scorer, score_concepts, score_relations

TEXT = "rash and fever after aspirin, not after codeine"
GOLD = [Concept("T1", 0, 4, "ADE"), Concept("T2", 9, 14, "ADE"), Concept("T3", 21, 28, "Drug")]
GOLD_RELATIONS = [Relation("T1", "T3", "ADE-Drug"), Relation("T2", "T3", "ADE-Drug")]
# One exact, one too long, one made up; one relation exact, one with the too long end, one made up.
PREDICTED = [
    Concept("C1", 0, 4, "ADE", 0.9),
    Concept("C2", 5, 14, "ADE", 0.8),
    Concept("C3", 21, 28, "Drug", 0.7),
    Concept("C4", 40, 47, "Drug", 0.6),
]
PREDICTED_RELATIONS = [
    Relation("C1", "C3", "ADE-Drug", 0.9),
    Relation("C2", "C3", "ADE-Drug", 0.8),
    Relation("C1", "C4", "ADE-Drug", 0.7),
]


def make_doc(nlp, concepts=(), relations=(), text=TEXT):
    return doc_from_note(nlp.make_doc, Note("n", text, list(concepts), list(relations)))[0]


@pytest.fixture
def example(nlp):
    return Example(make_doc(nlp, PREDICTED, PREDICTED_RELATIONS), make_doc(nlp, GOLD, GOLD_RELATIONS))


def keys(prefix):
    return {f"{prefix}_{key}" for key in ("p", "r", "f", "per_type", "lenient_p", "lenient_r", "lenient_f")}


def test_scores_of_concepts_are_those_worked_out_by_hand(example):
    scores = make_concept_scorer()([example], nlp=None)
    assert set(scores) == keys("concepts") | {f"spans_clinie_{key}" for key in ("p", "r", "f", "per_type")}
    assert [scores[f"concepts_{key}"] for key in "prf"] == pytest.approx([2 / 4, 2 / 3, 4 / 7])
    assert [scores[f"concepts_lenient_{key}"] for key in "prf"] == pytest.approx([3 / 4, 1, 6 / 7])
    assert scores["concepts_per_type"] == {
        "ADE": pytest.approx({"p": 1 / 2, "r": 1 / 2, "f": 1 / 2}),
        "Drug": pytest.approx({"p": 1 / 2, "r": 1, "f": 2 / 3}),
    }
    assert scores["spans_clinie_f"] == scores["concepts_f"]


def test_scores_of_relations_are_those_worked_out_by_hand(example):
    scores = make_relation_scorer()([example], nlp=None)
    assert set(scores) == keys("relations")
    assert [scores[f"relations_{key}"] for key in "prf"] == pytest.approx([1 / 3, 1 / 2, 2 / 5])
    assert [scores[f"relations_lenient_{key}"] for key in "prf"] == pytest.approx([2 / 3, 1, 4 / 5])
    assert scores["relations_per_type"] == {"ADE-Drug": pytest.approx({"p": 1 / 3, "r": 1 / 2, "f": 2 / 5})}


def test_relations_on_gold_concepts_have_keys_of_their_own(nlp):
    reference, predicted = make_doc(nlp, GOLD, GOLD_RELATIONS), make_doc(nlp, GOLD, GOLD_RELATIONS[:1])
    scores = score_relations([(reference, predicted)], "relations_gold")
    assert set(scores) == keys("relations_gold")
    assert [scores[f"relations_gold_{key}"] for key in "prf"] == pytest.approx([1, 1 / 2, 2 / 3])


def test_concepts_are_scored_by_characters_whatever_the_tokens(nlp):
    reference = make_doc(nlp, GOLD)
    words = ["rash", "and", "fever", "after", "aspirin,", "not", "after", "codeine"]
    predicted = Doc(nlp.vocab, words=words, spaces=[True] * 7 + [False])
    add_concepts(predicted, [(0, 1, "ADE", None), (2, 3, "ADE", None), (4, 5, "Drug", None)])
    scores = score_concepts([Example(predicted, reference)])
    # The last concept took the comma along.
    assert scores["concepts_f"] == pytest.approx(2 / 3)
    assert scores["concepts_lenient_f"] == 1


def test_overlapping_concepts_are_all_scored(nlp):
    nested = [*GOLD, Concept("T4", 9, 28, "ADE")]
    example = Example(make_doc(nlp, GOLD), make_doc(nlp, nested))
    assert score_concepts([example])["concepts_r"] == 3 / 4


def test_entities_of_other_components_are_scored(nlp):
    predicted = nlp.make_doc(TEXT)
    predicted.ents = [Span(predicted, 0, 1, label="ADE")]
    assert score_concepts([Example(predicted, make_doc(nlp, GOLD))])["concepts_r"] == 1 / 3


def test_scores_are_zero_where_nothing_is_predicted(nlp):
    example = Example(nlp.make_doc(TEXT), make_doc(nlp, GOLD, GOLD_RELATIONS))
    assert [score_concepts([example])[f"concepts_{key}"] for key in "prf"] == [0, 0, 0]
    assert [make_relation_scorer()([example])[f"relations_{key}"] for key in "prf"] == [0, 0, 0]


def test_none_where_there_is_nothing_to_score(nlp):
    empty = Example(make_doc(nlp), make_doc(nlp))
    for examples in ([], [empty]):
        for scores in (make_concept_scorer()(examples), make_relation_scorer()(examples)):
            assert set(scores.values()) == {None}


def test_predictions_on_an_empty_gold_document_are_wrong(nlp):
    example = Example(make_doc(nlp, PREDICTED, PREDICTED_RELATIONS), make_doc(nlp))
    assert score_concepts([example])["concepts_p"] == 0
    assert make_relation_scorer()([example])["relations_p"] == 0


def test_references_without_annotation_are_passed_over(nlp, example):
    bare = Example(make_doc(nlp, PREDICTED, PREDICTED_RELATIONS), nlp.make_doc(TEXT))
    for scorer in (make_concept_scorer(), make_relation_scorer()):
        assert scorer([example, bare]) == scorer([example])
        assert set(scorer([bare]).values()) == {None}


def test_relations_missing_from_the_reference_only(nlp):
    reference = make_doc(nlp, GOLD)
    del reference.user_data["clinie_rel"]
    example = Example(make_doc(nlp, PREDICTED, PREDICTED_RELATIONS), reference)
    assert score_concepts([example])["concepts_f"] is not None
    assert make_relation_scorer()([example])["relations_f"] is None


def test_predictions_on_another_text_are_refused(nlp):
    example = Example(make_doc(nlp, GOLD), make_doc(nlp, GOLD, text=TEXT + "\n"))
    with pytest.raises(ClinieError, match="CIE400") as error:
        score_concepts([example])
    assert "aspirin" not in str(error.value)


@Language.factory("scorer_test_guess")
class Guess:
    """Finds the same concepts and relations in every document."""

    def __init__(self, nlp, name):
        pass

    def __call__(self, doc):
        add_concepts(doc, [(0, 1, "ADE", 0.9), (4, 5, "Drug", 0.9)])
        set_relations(doc, [(0, 1, "ADE-Drug", 0.9)])
        return doc

    def score(self, examples, **cfg):
        examples = list(examples)
        return {**make_concept_scorer()(examples, **cfg), **make_relation_scorer()(examples, **cfg)}


def test_spacy_evaluate_prints_and_writes_the_scores(nlp, tmp_path, capsys):
    nlp.add_pipe("scorer_test_guess")
    nlp.to_disk(tmp_path / "model")
    gold = [make_doc(nlp, GOLD, GOLD_RELATIONS), make_doc(nlp)]
    DocBin(docs=gold, store_user_data=True).to_disk(tmp_path / "gold.spacy")
    output = tmp_path / "scores.json"
    spacy_evaluate(str(tmp_path / "model"), tmp_path / "gold.spacy", output, silent=False, spans_key="clinie")
    printed = capsys.readouterr().out
    assert "SPANS (per type)" in printed
    assert "Drug" in printed
    written = json.loads(output.read_text())
    # Two of four predictions are right, of three gold concepts; one of two relations, of two.
    assert [written[f"concepts_{key}"] for key in "prf"] == pytest.approx([2 / 4, 2 / 3, 4 / 7])
    assert [written[f"relations_{key}"] for key in "prf"] == pytest.approx([1 / 2, 1 / 2, 1 / 2])
    assert written["relations_per_type"]["ADE-Drug"]["f"] == pytest.approx(1 / 2)


def test_spacy_train_can_weigh_the_scores(nlp, example):
    """What the training loop does with scores: leave out None, take numbers only for what has a weight."""
    guess = nlp.add_pipe("scorer_test_guess")
    assert guess.score([example])
    scores = nlp.evaluate([example])
    assert isinstance(scores["concepts_f"], float)
    assert isinstance(scores["relations_lenient_f"], float)
