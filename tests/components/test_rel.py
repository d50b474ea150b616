"""`clinie_rel`: relations that are learnt, found and scored, between concepts of any component."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example

from spacy_clinie.doc.concepts import SCHEMA_KEY, set_concepts
from spacy_clinie.doc.interchange import doc_from_note, note_from_doc
from spacy_clinie.doc.note import Note
from spacy_clinie.doc.relations import get_relations, relation_indexes, set_relations
from spacy_clinie.errors import ClinieError, ClinieWarning
from spacy_clinie.schema import Schema
from tests.conftest import Examples
from tests.encoders import build
from tests.scripted import agree, last_layer, module_of


def test_relations_are_found_between_entities_of_another_component(tiny_bert: str, make_examples: Examples) -> None:
    nlp = build("one_pass", tiny_bert)
    nlp.initialize(lambda: make_examples(nlp))
    agree(nlp.get_pipe("clinie_rel"))
    nlp.remove_pipe("test_concepts")
    ruler = nlp.add_pipe("entity_ruler", first=True)
    ruler.add_patterns([{"label": "Drug", "pattern": "aspirin"}, {"label": "Reason", "pattern": "pain"}])
    doc = nlp("Took aspirin 25mg for pain.")
    assert [(rel.head.text, rel.label, rel.tail.text) for rel in doc._.rel] == [("pain", "Reason-Drug", "aspirin")]
    assert [(rel.dep, rel.dest) for rel in doc._.rel] == [(1, 0)]


def test_relations_are_found_between_a_concept_and_an_entity_of_another_component(
    tiny_bert: str, make_examples: Examples
) -> None:
    nlp = build("one_pass", tiny_bert)
    nlp.initialize(lambda: make_examples(nlp))
    agree(nlp.get_pipe("clinie_rel"))
    text = "Took aspirin 25mg for pain."
    doc = nlp.make_doc(text)
    doc.ents = [doc.char_span(22, 26, label="Reason"), doc.char_span(0, 4, label="VERB")]
    set_concepts(doc, [doc.char_span(5, 12, label="Drug", span_id="C7")])
    doc = nlp.get_pipe("clinie_rel")(doc)
    assert [(rel.head.text, rel.label, rel.tail.text) for rel in doc._.rel] == [("pain", "Reason-Drug", "aspirin")]
    note = note_from_doc(doc, entities=True)
    assert sorted((concept.label, text[concept.start : concept.end]) for concept in note.concepts) == [
        ("Drug", "aspirin"),
        ("Reason", "pain"),
        ("VERB", "Took"),
    ]
    assert len(note.relations) == 1


def test_scores_on_gold_concepts_do_not_depend_on_predicted_ones(tiny_bert: str, make_examples: Examples) -> None:
    nlp = build("one_pass", tiny_bert)
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    agree(nlp.get_pipe("clinie_rel"))
    nlp.remove_pipe("test_concepts")
    scores = nlp.evaluate(examples)
    assert scores["relations_gold_f"] == 1.0
    assert scores["relations_f"] == 0.0


def test_relations_between_given_concepts_are_scored_by_their_offsets_whatever_the_tokens(
    tiny_bert: str, notes: list[Note]
) -> None:
    nlp = build("one_pass", tiny_bert)
    reference = doc_from_note(nlp.make_doc, notes[0])[0]
    nlp.initialize(lambda: [Example(nlp.make_doc(notes[0].text), reference)])
    whole = Doc(nlp.vocab, words=notes[0].text.split(" "), spaces=[True] * notes[0].text.count(" ") + [False])
    assert whole.text == reference.text
    assert len(whole) < len(reference)
    pipe: Any = nlp.get_pipe("clinie_rel")
    right = {(head, tail): label for head, tail, label, _ in relation_indexes(reference)}
    pipe.predict = lambda docs: [[(head, tail, label, 1.0) for (head, tail), label in right.items()] for _ in docs]
    scores = pipe.score([Example(whole, reference)])
    assert scores["relations_gold_f"] == scores["relations_gold_lenient_f"] == 1.0


@pytest.fixture
def rel(tiny_bert: str) -> Iterator[Any]:
    """A relation component with a symmetric type."""
    nlp = build("one_pass", tiny_bert)
    pipe: Any = nlp.get_pipe("clinie_rel")
    relations = {"Takes": {"pairs": [["Drug", "Reason"]]}, "With": {"pairs": [["Drug", "Drug"]], "symmetric": True}}
    concepts: dict[str, Any] = {"Drug": {}, "Reason": {}}
    pipe.schema = Schema.from_dict({"name": "mine", "concepts": concepts, "relations": relations})
    return pipe


def learnt(pipe: Any, gold: Doc) -> set[tuple[str, str, str]]:
    """Words of head and tail, and label, of what a component learns of a Doc."""
    bare = Doc(gold.vocab, [t.text for t in gold], [bool(t.whitespace_) for t in gold])
    item, answers = pipe.gold(Example(bare, gold))
    labels = tuple(item.schema.relations)
    texts = [span.text for span in item.spans]
    pairs = zip(item.pairs, answers.tolist(), strict=True)
    return {(texts[head], texts[tail], labels[answer - 1]) for (head, tail), answer in pairs if answer}


def test_symmetric_relations_are_learnt_whichever_end_is_named_first(rel: Any, nlp: Language) -> None:
    doc = nlp.make_doc("aspirin and ibuprofen")
    set_concepts(doc, [Span(doc, 0, 1, "Drug"), Span(doc, 2, 3, "Drug")])
    for pair in ((0, 1), (1, 0)):
        set_relations(doc, [(*pair, "With")])
        assert learnt(rel, doc) == {("aspirin", "ibuprofen", "With")}


def test_symmetric_relations_are_scored_whichever_end_is_named_first(
    rel: Any, nlp: Language, monkeypatch: pytest.MonkeyPatch
) -> None:
    gold = nlp.make_doc("aspirin and ibuprofen")
    set_concepts(gold, [Span(gold, 0, 1, "Drug"), Span(gold, 2, 3, "Drug")])
    set_relations(gold, [(1, 0, "With")])
    found = nlp.make_doc(gold.text)
    set_concepts(found, [Span(found, 0, 1, "Drug"), Span(found, 2, 3, "Drug")])
    set_relations(found, [(0, 1, "With")])
    monkeypatch.setattr(rel, "predict", lambda docs: [[(0, 1, "With", 0.9)] for _ in docs])
    scores = rel.score([Example(found, gold)])
    assert (scores["relations_f"], scores["relations_gold_f"]) == (1.0, 1.0)
    set_relations(gold, [(1, 0, "Takes")])
    set_relations(found, [(0, 1, "Takes")])
    assert rel.score([Example(found, gold)])["relations_f"] == 0.0


def test_concepts_that_are_given_twice_are_learnt_once(rel: Any, nlp: Language) -> None:
    doc = nlp.make_doc("aspirin for pain")
    twice = [Span(doc, 0, 1, "Drug", span_id="A"), Span(doc, 0, 1, "Drug", span_id="B")]
    set_concepts(doc, [*twice, Span(doc, 2, 3, "Reason")])
    set_relations(doc, [(1, 2, "Takes")])
    item, answers = rel.gold(Example(nlp.make_doc(doc.text), doc))
    assert (item.pairs, answers.tolist()) == ([(0, 2)], [1])


def test_relations_with_entities_of_others_are_learnt_and_scored(
    rel: Any, nlp: Language, monkeypatch: pytest.MonkeyPatch
) -> None:
    doc = nlp.make_doc("aspirin for pain")
    set_concepts(doc, [Span(doc, 0, 1, "Drug")])
    doc.ents = [*doc.ents, Span(doc, 2, 3, "Reason")]
    set_relations(doc, [(doc.spans["clinie"][0], doc.ents[1], "Takes")])
    assert learnt(rel, doc) == {("aspirin", "pain", "Takes")}
    monkeypatch.setattr(rel, "predict", lambda docs: [[(0, 1, "Takes", 0.9)] for _ in docs])
    scores = rel.score([Example(nlp.make_doc(doc.text), doc)])
    assert scores["relations_gold_f"] == 1.0
    assert scores["relations_f"] == 0.0


def test_relations_to_oneself_are_told(rel: Any, nlp: Language) -> None:
    doc = nlp.make_doc("aspirin for pain")
    set_concepts(doc, [Span(doc, 0, 1, "Drug"), Span(doc, 2, 3, "Reason")])
    set_relations(doc, [(0, 0, "Takes"), (0, 1, "Takes"), (0, 1, "Takes"), (1, 0, "Takes")])
    with pytest.warns(ClinieWarning) as told:
        rel.warn_unlearnable([Example(nlp.make_doc(doc.text), doc)])
    # To itself, and of types that the schema does not list this way; what is said twice is said.
    assert [str(one.message)[:11] for one in told] == ["[CIE472] 2 "]


def test_unknown_relation_types_are_refused_before_training(tiny_bert: str, make_examples: Examples) -> None:
    nlp = build("one_pass", tiny_bert, label_schema="n2c2_2018")
    examples = make_examples(nlp)
    examples[-1].reference._.rel = [(0, 1, "Causes")]
    with pytest.raises(ClinieError, match=r"CIE463.*Causes"):
        nlp.initialize(lambda: examples)


def test_relations_of_what_is_no_concept_are_counted_and_passed_over(tiny_bert: str, make_examples: Examples) -> None:
    nlp = build("one_pass", tiny_bert)
    examples = make_examples(nlp)
    sound = len(examples[0].reference._.rel)
    examples[0].reference._.rel = [*examples[0].reference._.rel, (examples[0].reference[0:1], 1, "ADE-Drug")]
    with pytest.warns(ClinieWarning, match="CIE466.* 1 |1 relations"):
        sgd = nlp.initialize(lambda: examples)
    pipe = nlp.get_pipe("clinie_rel")
    assert (pipe.gold(examples[0])[1] > 0).sum() == sound
    nlp.update(examples, sgd=sgd)


def test_relations_that_cannot_be_learnt_are_counted(tiny_bert: str) -> None:
    nlp = build("one_pass", tiny_bert, max_distance=1)
    doc = nlp.make_doc("Took aspirin.\nIt helped.\nShe slept.\nNo pain, no rash.")
    drug, pain, rash = (next(token.i for token in doc if token.text == word) for word in ("aspirin", "pain", "rash"))
    set_concepts(doc, [Span(doc, i, i + 1, label) for i, label in ((drug, "Drug"), (pain, "ADE"), (rash, "ADE"))])
    set_relations(doc, [(1, 0, "FAR"), (1, 2, "SAME"), (1, 2, "WITH")])
    with pytest.warns(ClinieWarning) as told:
        nlp.initialize(lambda: [Example(nlp.make_doc(doc.text), doc)])
    messages = [str(one.message) for one in told if issubclass(one.category, ClinieWarning)]
    assert [message[:11] for message in messages] == ["[CIE472] 1 ", "[CIE476] 1 "]


def test_a_distance_below_zero_is_refused() -> None:
    with pytest.raises(ClinieError, match=r"CIE307.*max_distance"):
        spacy.blank("en").add_pipe("clinie_rel", config={"max_distance": -1})


@pytest.mark.parametrize("kind", ["one_pass", "marked_pairs", "pair_mrc", "tok2vec_pairs"])
def test_relations_are_learnt_and_looked_for_by_the_schema_that_a_doc_names(
    kind: str, tiny_bert: str, notes: list[Note], tmp_path: Path
) -> None:
    files = {}
    for label, head in (("ADE-Drug", "ADE"), ("Reason-Drug", "Reason"), ("Planet-Drug", "Planet")):
        # In another order than in the union of both, so that an index is not taken for a name.
        record = {"name": label, "concepts": {"Drug": {}, head: {}}, "relations": {label: {"pairs": [[head, "Drug"]]}}}
        files[label] = str(tmp_path / f"{label}.yml")
        Path(files[label]).write_text(Schema.from_dict(record).to_yaml())
    nlp = build(kind, tiny_bert)
    examples = []
    for label, repeat in (("ADE-Drug", 2), ("Reason-Drug", 1)):
        for note in notes * repeat:
            types = ("Drug", label.split("-")[0])
            concepts = [one for one in note.concepts if one.label in types]
            own = Note(note.id, note.text, concepts, [one for one in note.relations if one.label == label])
            gold = doc_from_note(nlp.make_doc, own)[0]
            gold.user_data[SCHEMA_KEY] = files[label]
            examples.append(Example(nlp.make_doc(note.text), gold))
    nlp.initialize(lambda: examples)
    pipe: Any = nlp.get_pipe("clinie_rel")

    def related(name: str | None) -> set[str]:
        doc = nlp.make_doc(notes[0].text)
        if name is not None:
            doc.user_data[SCHEMA_KEY] = name
        return {relation.label for relation in get_relations(nlp(doc))}

    output = last_layer(module_of(pipe).head)
    for label in ("ADE-Drug", "Reason-Drug"):
        own = [one for one in examples if one.reference.user_data[SCHEMA_KEY] == files[label]]
        items, gold = zip(*map(pipe.gold, own), strict=True)
        assert {tuple(item.schema.relations) for item in items} == {(label,)}
        assert {answer for answers in gold for answer in answers.tolist()} == {1}
        if kind != "pair_mrc":  # which asks about these only
            output.zero_grad()
            pipe.update(own, sgd=False)
            moved = output.weight.grad.abs().amax(-1) > 0
            assert moved.tolist() == [True, *(one == label for one in pipe.labels)]
    agree(pipe)
    assert related(files["ADE-Drug"]) == {"ADE-Drug"}
    assert related(files["Reason-Drug"]) == {"Reason-Drug"}
    assert related(None) == {"ADE-Drug", "Reason-Drug"}
    if kind == "pair_mrc":
        assert related(files["Planet-Drug"]) == set()  # nothing there can be the head
    else:
        agree(pipe, "Reason-Drug")
        assert related(None) == related(files["Reason-Drug"]) == {"Reason-Drug"}
        assert related(files["ADE-Drug"]) == set()
        with pytest.raises(ClinieError, match="CIE315"):
            related(files["Planet-Drug"])
