"""Kinds of mistakes, and examples."""

from spacy_clinie.study.report.error_analysis import mistakes_part
from spacy_clinie.study.report.manifests import read_study

from .study_maker import StudyMaker, make_fold, same, texts


def errors(boundary: int = 3) -> dict:
    kinds = {"boundary": boundary, "type": 1, "missed": 4, "spurious": 2}
    examples = [
        {"document": "note-1", "kind": "boundary", "gold": [50, 57, "Drug"], "found": [50, 54, "Drug"]},
        {"document": "note-2", "kind": "missed", "gold": [0, 4, "Drug"], "found": None},
        {"document": "note-3", "kind": "spurious", "gold": None, "found": [5, 9, "ADE"]},
    ]
    seen, unseen = {"gold": 8, "found": 6}, {"gold": 4, "found": 1}
    return {**kinds, "by_type": {"Drug": kinds}, "seen": seen, "unseen": unseen, "examples": examples}


def test_shares_recall_and_rejected_answers(maker: StudyMaker) -> None:
    prediction = {"seconds": 1, "words": 1000, "rejected": {"no such type": 2, "not in the text": 5}}
    more = {"errors": errors(), "prediction": prediction}
    maker.done(make_fold("single", "decoder-lora", "phee"), {"concepts": same(3, 1, 1)}, **more)
    part = mistakes_part(read_study(maker.write()))
    found, (examples,) = part.view["mistakes"]["kinds"], part.view["mistakes"]["examples"]
    assert texts(found)[0][3:8] == ["10", "30.0 %", "10.0 %", "40.0 %", "20.0 %"]
    assert texts(found)[0][8:] == ["75.0 %", "25.0 %", "7", "not in the text 5, no such type 2"]
    assert found.rows[0][8].more == "6 of 8"
    assert part.csv["errors"][["label", "type"]].to_numpy().tolist() == [["", 1], ["Drug", 1]]
    assert texts(examples)[0][2:] == ["note-1", "boundary", "50–57 Drug", "50–54 Drug"]
    assert texts(examples)[1][4:] == ["0–4 Drug", ""]


def test_seeds_are_summed_and_examples_are_of_the_first(maker: StudyMaker) -> None:
    for seed in (1, 0):
        own = errors(boundary=3 + seed)
        own["examples"] = own["examples"][: 1 + seed]
        maker.done(make_fold("single", "encoder-mrc", "phee", seed=seed), {"concepts": same(3, 1, 1)}, errors=own)
    maker.done(make_fold("loo", "encoder-mrc", "phee", "shots", shots=5, draw=0), {}, errors=errors())
    part = mistakes_part(read_study(maker.write()))
    assert part.csv["errors"][["folds", "boundary", "seen_gold"]].to_numpy().tolist()[0] == [2, 7, 16]
    assert len(part.csv["examples"]) == 1


def test_few_examples_of_each_kind_are_shown_and_all_are_in_csv(maker: StudyMaker) -> None:
    own = errors()
    own["examples"] *= 7
    maker.done(make_fold("single", "encoder-mrc", "phee"), {"concepts": same(3, 1, 1)}, errors=own)
    part = mistakes_part(read_study(maker.write()))
    assert (len(part.view["mistakes"]["examples"][0].rows), len(part.csv["examples"])) == (15, 21)


def test_text_is_quoted_around_a_mistake(maker: StudyMaker) -> None:
    maker.done(make_fold("single", "decoder-lora", "phee"), {"concepts": same(3, 1, 1)}, errors=errors())
    text = "a" * 9 + "b" * 40 + " aspirin" + " " + "c" * 39 + "d"
    part = mistakes_part(read_study(maker.write()), lambda corpus: {"note-1": text} if corpus == "phee" else {})
    (examples,) = part.view["mistakes"]["examples"]
    assert [row[-1] for row in texts(examples)] == [f"…{'b' * 39} «aspirin» {'c' * 39}…", "", ""]
