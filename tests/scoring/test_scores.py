import json
import random
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_clinie.doc.note import Concept, Note, Relation
from spacy_clinie.errors import ClinieError, ClinieWarning
from spacy_clinie.scoring.counts import count
from spacy_clinie.scoring.scores import pair_notes, score, summarize

TEXT = "x" * 40


def make_note(note_id, concepts=(), relations=(), text=TEXT):
    """A note from (start, end, label) and (head, tail, label) by place in the list."""
    listed = [Concept(f"T{i}", *concept) for i, concept in enumerate(concepts)]
    return Note(note_id, text, listed, [Relation(f"T{head}", f"T{tail}", label) for head, tail, label in relations])


def fields(row, *names):
    return [row[name] for name in names]


@st.composite
def notes_of_a_corpus(draw, notes=4):
    spans = st.tuples(st.integers(0, 30), st.integers(1, 9)).map(lambda pair: (pair[0], sum(pair)))
    found = []
    for i in range(draw(st.integers(0, notes))):
        concepts = draw(st.lists(st.tuples(spans, st.sampled_from(["Drug", "ADE", "Reason"])), max_size=5))
        ends = st.integers(0, max(len(concepts) - 1, 0))
        links = st.lists(st.tuples(ends, ends, st.sampled_from(["r", "s"])), max_size=4 if concepts else 0)
        found.append(make_note(f"n{i}", [(*span, label) for span, label in concepts], draw(links)))
    return found


def quietly(gold, predicted, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ClinieWarning)
        return score(gold, predicted, **options)


def sections(result):
    return [result[kind][mode] for kind in ("concepts", "relations") for mode in ("strict", "lenient")]


def test_scores_are_those_worked_out_by_hand():
    gold = [
        make_note("a", [(0, 5, "Drug"), (8, 12, "ADE"), (20, 25, "Drug")], [(1, 0, "ADE-Drug"), (1, 2, "ADE-Drug")]),
        make_note("b", [(0, 4, "Drug")]),
        make_note("c"),
    ]
    predicted = [
        # One exact, one off by a character, one of the wrong type; one relation has an inexact end, one a missing one.
        make_note("a", [(0, 5, "Drug"), (8, 11, "ADE"), (20, 25, "ADE")], [(1, 0, "ADE-Drug"), (2, 0, "ADE-Drug")]),
        make_note("b", [(0, 4, "Drug"), (6, 9, "ADE")]),
        make_note("c"),
    ]
    result = score(gold, predicted, resamples=100)
    assert fields(result, "documents", "missing_documents", "extra_documents") == [3, 0, 0]

    strict = result["concepts"]["strict"]
    assert fields(strict["micro"], "tp", "fp", "fn", "support") == [2, 3, 2, 4]
    assert fields(strict["micro"], "p", "r", "f1") == pytest.approx([2 / 5, 2 / 4, 4 / 9])
    assert set(strict["per_type"]) == {"ADE", "Drug"}
    assert fields(strict["per_type"]["Drug"], "tp", "fp", "fn", "support") == [2, 0, 1, 3]
    assert fields(strict["per_type"]["Drug"], "p", "r", "f1") == pytest.approx([1, 2 / 3, 4 / 5])
    assert fields(strict["per_type"]["ADE"], "tp", "fp", "fn", "support") == [0, 3, 1, 1]
    assert fields(strict["per_type"]["ADE"], "p", "r", "f1") == [0, 0, 0]
    # Document a has 1/3, 1/3, 1/3, b has 1/2, 1, 2/3; c is empty and has no say.
    macro = strict["macro_documents"]
    assert fields(macro, "p", "r", "f1") == pytest.approx([5 / 12, 2 / 3, 1 / 2])
    assert fields(macro, "documents", "empty_documents") == [2, 1]
    assert fields(strict["macro_types"], "p", "r", "f1") == pytest.approx([1 / 2, 1 / 3, 2 / 5])
    assert strict["macro_types"]["types"] == 2

    lenient = result["concepts"]["lenient"]
    assert fields(lenient["micro"], "tp", "fp", "fn") == [3, 2, 1]
    assert fields(lenient["per_type"]["ADE"], "tp", "fp", "fn") == [1, 2, 0]

    assert fields(result["relations"]["strict"]["micro"], "tp", "fp", "fn") == [0, 2, 2]
    assert fields(result["relations"]["lenient"]["micro"], "tp", "fp", "fn") == [1, 1, 1]
    assert result["relations"]["strict"]["macro_documents"]["documents"] == 1


def test_gold_relations_without_candidates_are_misses():
    gold = [make_note("a", [(0, 5, "Drug"), (8, 12, "ADE")], [(1, 0, "ADE-Drug")])]
    result = score(gold, [make_note("a", [(0, 5, "Drug")])])
    assert fields(result["relations"]["strict"]["micro"], "tp", "fp", "fn", "r") == [0, 0, 1, 0.0]
    assert fields(result["relations"]["lenient"]["micro"], "tp", "fp", "fn", "r") == [0, 0, 1, 0.0]


def test_fragments_are_not_compared():
    gold, predicted = make_note("a", [(0, 10, "ADE")]), make_note("a", [(0, 10, "ADE")])
    gold.concepts[0].fragments = [(0, 3), (8, 10)]
    assert score([gold], [predicted])["concepts"]["strict"]["micro"]["f1"] == 1


def test_duplicates_count_once_and_are_reported():
    gold = [make_note("a", [(0, 5, "Drug"), (0, 5, "Drug"), (8, 9, "ADE")], [(2, 0, "r"), (2, 1, "r")])]
    predicted = [make_note("a", [(0, 5, "Drug"), (8, 9, "ADE"), (8, 9, "ADE"), (8, 9, "ADE")])]
    result = score(gold, predicted)
    assert result["duplicates"] == {
        "gold": {"concepts": 1, "relations": 1},
        "predicted": {"concepts": 2, "relations": 0},
    }
    assert fields(result["concepts"]["strict"]["micro"], "tp", "fp", "fn") == [2, 0, 0]
    assert fields(result["relations"]["strict"]["micro"], "tp", "fp", "fn") == [0, 0, 1]


def test_gold_notes_in_which_nobody_looked_for_relations_are_passed_over_for_these():
    spans, links = [(0, 5, "Drug"), (6, 9, "ADE")], [(1, 0, "r")]
    gold = [make_note("a", spans), make_note("b", spans), make_note("c", spans, links)]
    gold[0].relations_known = gold[2].relations_known = False
    result = score(gold, [make_note(key, spans, links) for key in "abc"])
    assert result["without_relations"] == 1
    for mode in ("strict", "lenient"):
        # In "b" somebody looked and found none; "c" has one, whatever it says.
        assert fields(result["relations"][mode]["micro"], "tp", "fp", "fn") == [1, 1, 0]
        assert fields(result["concepts"][mode]["micro"], "tp", "fp", "fn") == [6, 0, 0]


def test_missing_documents_are_misses_and_extra_documents_are_false():
    gold = [make_note("a", [(0, 5, "Drug")]), make_note("b", [(0, 5, "Drug"), (6, 9, "ADE")])]
    predicted = [make_note("a", [(0, 5, "Drug")]), make_note("c", [(1, 2, "ADE")], text="another text")]
    with pytest.warns(ClinieWarning, match="CIE402.* 1 gold .* 1 predicted"):
        result = score(gold, predicted)
    assert fields(result, "documents", "missing_documents", "extra_documents") == [3, 1, 1]
    assert fields(result["concepts"]["strict"]["micro"], "tp", "fp", "fn") == [1, 1, 2]


def test_no_warning_when_the_documents_agree():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        score([make_note("a")], [make_note("a")])


def test_notes_without_annotations_have_scores_of_zero():
    for notes in ([], [make_note("a"), make_note("b")]):
        for part in sections(score(notes, notes)):
            assert fields(part["micro"], "p", "r", "f1", "tp", "fp", "fn", "support") == [0.0] * 3 + [0] * 4
            assert part["per_type"] == {}
            assert fields(part["macro_documents"], "f1", "documents", "empty_documents") == [0.0, 0, len(notes)]


def test_nothing_predicted_and_nothing_in_gold():
    full, empty = [make_note("a", [(0, 5, "Drug")])], [make_note("a")]
    for gold, predicted, counts in ((full, empty, [0, 0, 1]), (empty, full, [0, 1, 0])):
        part = score(gold, predicted)["concepts"]["strict"]
        assert fields(part["micro"], "tp", "fp", "fn") == counts
        assert fields(part["micro"], "p", "r", "f1") == [0.0, 0.0, 0.0]
        assert fields(part["macro_documents"], "f1", "documents") == [0.0, 1]


@pytest.mark.parametrize(
    "code, gold, predicted",
    [
        ("CIE400", [make_note("a")], [make_note("a", text=TEXT + "\r")]),
        ("CIE401", [make_note("a"), make_note("a")], [make_note("a")]),
        ("CIE401", [make_note("a")], [make_note("a"), make_note("a")]),
        ("CIE004", [make_note("a")], [make_note("a", [(0, 41, "Drug")])]),
        ("CIE006", [make_note("a", [(0, 5, "Drug")], [(0, 1, "r")])], [make_note("a")]),
    ],
)
def test_notes_that_cannot_be_scored_are_refused_without_quoting_them(code, gold, predicted):
    with pytest.raises(ClinieError, match=code) as error:
        score(gold, predicted)
    assert "xx" not in str(error.value)


def corrupted(gold, seed):
    shuffler = random.Random(seed)
    predicted = []
    for note in gold:
        kept = [c for c in note.concepts if shuffler.random() < 0.8]
        predicted.append(make_note(note.id, [(c.start, c.end + shuffler.choice([0, 0, 0, 1]), c.label) for c in kept]))
    return predicted


def many(size, seed=0):
    shuffler = random.Random(seed)
    notes = []
    for i in range(size):
        starts = shuffler.sample(range(0, 35, 5), shuffler.randint(0, 6))
        notes.append(make_note(f"n{i:03}", [(s, s + 3, shuffler.choice(["Drug", "ADE"])) for s in starts]))
    return notes


def test_intervals_hold_the_score_and_narrow_with_more_documents():
    widths = []
    for size in (40, 400):
        gold = many(size)
        result = score(gold, corrupted(gold, 1))
        part = result["concepts"]["strict"]
        for row in (part["micro"], part["macro_documents"], part["macro_types"], *part["per_type"].values()):
            for rate, name in (("p", "p_interval"), ("r", "r_interval"), ("f1", "interval")):
                low, high = row[name]
                assert 0 <= low < row[rate] < high <= 1
        widths.append(part["micro"]["interval"][1] - part["micro"]["interval"][0])
    assert widths[1] < widths[0] / 2


def test_intervals_are_seeded():
    gold = many(30)
    predicted = corrupted(gold, 1)
    assert score(gold, predicted, seed=3) == score(gold, predicted, seed=3)
    assert score(gold, predicted, seed=3) != score(gold, predicted, seed=4)


def test_no_intervals_from_one_document_or_none_asked_for():
    gold = many(30)
    for result in (score(gold[:1], gold[:1]), score(gold, gold, resamples=0)):
        micro = result["concepts"]["strict"]["micro"]
        assert fields(micro, "interval", "p_interval", "r_interval") == [None] * 3


def test_intervals_of_rare_types_are_of_the_resamples_that_have_them():
    gold = [make_note(f"n{i:02}", [(0, 5, "Drug")]) for i in range(30)]
    for note, label in ((gold[0], "rare"), (gold[1], "rare"), (gold[2], "single")):
        note.concepts.append(Concept("T9", 6, 9, label))
    part = score(gold, gold)["concepts"]["strict"]
    assert part["per_type"]["rare"]["interval"] == [1, 1]
    assert part["macro_types"]["interval"] == [1, 1]
    # One document says nothing about how documents differ.
    assert part["per_type"]["single"]["interval"] is None


def test_summary_of_counts_of_one_kind():
    gold = many(20)
    counts = count(pair_notes(gold, corrupted(gold, 1)), "concepts", "lenient")
    assert summarize(counts) == score(gold, corrupted(gold, 1))["concepts"]["lenient"]


def test_result_is_json():
    gold = many(5)
    result = score(gold, corrupted(gold, 1))
    assert json.loads(json.dumps(result)) == result


@settings(deadline=None, max_examples=50)
@given(notes_of_a_corpus())
def test_gold_against_itself_has_full_scores(gold):
    for part in sections(score(gold, gold, resamples=5)):
        assert part["micro"]["fp"] == part["micro"]["fn"] == 0
        for row in (part["micro"], part["macro_documents"], part["macro_types"], *part["per_type"].values()):
            assert fields(row, "p", "r", "f1") == pytest.approx([float(bool(part["per_type"]))] * 3)


@settings(deadline=None, max_examples=50)
@given(notes_of_a_corpus(), notes_of_a_corpus())
def test_lenient_scores_are_no_lower_and_types_add_up(gold, predicted):
    result = quietly(gold, predicted, resamples=0)
    for kind in ("concepts", "relations"):
        strict, lenient = result[kind]["strict"], result[kind]["lenient"]
        assert set(strict["per_type"]) == set(lenient["per_type"])
        for label in strict["per_type"]:
            assert lenient["per_type"][label]["f1"] >= strict["per_type"][label]["f1"]
        for key in ("p", "r", "f1", "tp"):
            assert lenient["micro"][key] >= strict["micro"][key]
        for part in (strict, lenient):
            assert part["micro"]["support"] == part["micro"]["tp"] + part["micro"]["fn"]
            for key in ("tp", "fp", "fn", "support"):
                assert part["micro"][key] == sum(row[key] for row in part["per_type"].values())
        ends = {(note.id, c.id): (c.offsets, c.label) for note in gold for c in note.concepts}
        distinct = {
            "concepts": {(note.id, ends[note.id, c.id]) for note in gold for c in note.concepts},
            "relations": {
                (note.id, r.label, ends[note.id, r.head], ends[note.id, r.tail])
                for note in gold
                for r in note.relations
            },
        }
        assert strict["micro"]["support"] == lenient["micro"]["support"] == len(distinct[kind])


@settings(deadline=None, max_examples=50)
@given(notes_of_a_corpus(), notes_of_a_corpus())
def test_strict_micro_against_a_plain_count(gold, predicted):
    """The reference removes from a list what it finds, character by character: no sets, no shared code."""
    tp = fp = 0
    left = []
    for note in gold:
        for c in note.concepts:
            if [note.id, c.label, c.start, c.end] not in left:
                left.append([note.id, c.label, c.start, c.end])
    total = len(left)
    seen = []
    for note in predicted:
        for c in note.concepts:
            key = [note.id, c.label, c.start, c.end]
            if key in seen:
                continue
            seen.append(key)
            if key in left:
                left.remove(key)
                tp += 1
            else:
                fp += 1
    micro = quietly(gold, predicted, resamples=0)["concepts"]["strict"]["micro"]
    assert fields(micro, "tp", "fp", "fn") == [tp, fp, total - tp]
    p, r = tp / (tp + fp) if tp + fp else 0, tp / total if total else 0
    assert fields(micro, "p", "r", "f1") == pytest.approx([p, r, 2 * p * r / (p + r) if p + r else 0])


@settings(deadline=None, max_examples=50)
@given(notes_of_a_corpus(), notes_of_a_corpus())
def test_swapping_the_sides_swaps_precision_and_recall(gold, predicted):
    there, back = quietly(gold, predicted, resamples=20), quietly(predicted, gold, resamples=20)
    assert (there["missing_documents"], there["extra_documents"]) == (
        back["extra_documents"],
        back["missing_documents"],
    )
    for one, other in zip(sections(there), sections(back), strict=True):
        for name in ("micro", "macro_documents", "macro_types"):
            assert fields(one[name], "p", "r", "f1") == fields(other[name], "r", "p", "f1")
            assert fields(one[name], "p_interval", "interval") == fields(other[name], "r_interval", "interval")


@settings(deadline=None, max_examples=50)
@given(notes_of_a_corpus(), notes_of_a_corpus(), st.randoms())
def test_order_changes_nothing(gold, predicted, shuffler):
    before = quietly(gold, predicted, resamples=20)
    for side in (gold, predicted):
        shuffler.shuffle(side)
        for note in side:
            shuffler.shuffle(note.concepts)
            shuffler.shuffle(note.relations)
    assert quietly(gold, predicted, resamples=20) == before
