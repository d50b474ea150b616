"""The recorder of a fold's training, and its predictions."""

from collections.abc import Callable
from pathlib import Path

import pytest

from spacy_clinie.components import prompting
from spacy_clinie.doc.concepts import ID_KEY, SCHEMA_KEY, get_spans
from spacy_clinie.doc.interchange import note_from_doc
from spacy_clinie.doc.note import Note
from spacy_clinie.study import fold
from tests.conftest import Examples
from tests.decoders import build_for_both


def test_recorder_keeps_notes_of_training_steps_once(
    tiny_decoder: str, make_examples: Examples, tmp_path: Path
) -> None:
    nlp = build_for_both(tiny_decoder)
    examples = make_examples(nlp)
    sgd = nlp.initialize(lambda: examples)
    schema = nlp.get_pipe("clinie_decoder_prompt").schema  # type: ignore[attr-defined]
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "schema.yml").write_text(schema.to_yaml())
    for number, example in enumerate(examples):
        example.reference.user_data |= {SCHEMA_KEY: str(tmp_path / "corpus" / "schema.yml"), ID_KEY: f"n{number}"}
    recorder = nlp.add_pipe("clinie_study_recorder", first=True)
    for batch in (examples[:1], examples[:2], examples[:1]):
        nlp.update(batch, sgd=sgd)
    assert (recorder.steps, sorted(recorder.notes)) == (3, [("corpus", "n0"), ("corpus", "n1")])  # type: ignore[attr-defined]
    text = examples[0].text
    found = note_from_doc(nlp(text))
    nlp.remove_pipe("clinie_study_recorder")
    assert nlp.pipe_names == ["clinie_decoder_prompt"] == nlp.config["nlp"]["pipeline"]
    assert note_from_doc(nlp(text)) == found


@pytest.mark.parametrize("gold", [False, True])
def test_concepts_are_predicted_unless_gold_ones_are_given(
    gold: bool, tiny_decoder: str, notes: list[Note], make_examples: Examples, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    nlp = build_for_both(tiny_decoder)
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    pipe = nlp.get_pipe("clinie_decoder_prompt")
    (tmp_path / "schema.yml").write_text(pipe.schema.to_yaml())  # type: ignore[attr-defined]
    asked: dict[str, int] = {"concept_queries": 0, "relation_queries": 0}
    for name in asked:
        method = getattr(prompting.PromptingComponent, name)

        def count(*args: object, name: str = name, method: Callable = method) -> list:
            found: list = method(*args)
            asked[name] += len(found)
            return found

        monkeypatch.setattr(prompting.PromptingComponent, name, count)
    prompt = pipe.concepts  # type: ignore[attr-defined]
    found = fold._predict(nlp, notes, str(tmp_path / "schema.yml"), gold=gold)
    assert bool(asked["concept_queries"]) == (not gold)
    assert pipe.concepts is prompt is not None  # type: ignore[attr-defined]
    if gold:
        assert asked["relation_queries"] > 0
        assert [one.concepts for one in found] == [note_from_doc(example.reference).concepts for example in examples]
    assert nlp.pipe_names == ["clinie_decoder_prompt"]
    assert get_spans(examples[0].reference)
