from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.language import Language
from spacy.training import Example

from spacy_clinie.doc.concepts import get_spans
from spacy_clinie.doc.note import Concept, Note
from spacy_clinie.errors import ClinieError
from spacy_clinie.formats import jsonl
from tests.conftest import Examples
from tests.decoders import build_for_both
from tests.scripted import babble, module_of, write

FILE, SAMPLED = "spacy_clinie.ExampleFile.v1", "spacy_clinie.SampledExamples.v1"


def prompts(nlp: Language, examples: list[Example]) -> list[str]:
    """The prompts about gold notes, as text."""
    encoded, _ = nlp.get_pipe("clinie_decoder_prompt").batch(examples)  # type: ignore[attr-defined]
    decode = nlp.get_pipe("clinie_decoder_prompt").model.shims[0].module.tokenizer.decode  # type: ignore[attr-defined]
    return [decode([*prompt.prefix, *prompt.rest]) for prompt in encoded]


@pytest.mark.parametrize(
    ("per_type", "shown"),
    [
        (
            False,
            [
                "took« aspirin»Drug»« 25mg»Strength» for« pain»Reason»",
                "took« aspirin»1 Drug»« 25mg»2 Strength» for« pain»3 Reason»\nAnswer:\n2 Strength-Drug 1\n3 Reason",
            ],
        ),
        (
            True,
            [
                "Answer:\nShe took« aspirin» 25mg for pain",
                "« pain»3 Reason»\nAnswer:\n1\n",
            ],
        ),
    ],
    ids=["instruct", "mrc"],
)
def test_notes_of_a_file_are_shown_with_their_answers(
    per_type: bool, shown: list[str], tiny_decoder: str, notes: list[Note], make_examples: Examples, tmp_path: Path
) -> None:
    words = {"aspirin": "Drug", "25mg": "Strength", "pain": "Reason"}
    text = "She took aspirin 25mg for pain"
    concepts = [
        Concept(f"T{i}", text.index(word), text.index(word) + len(word), label)
        for i, (word, label) in enumerate(words.items(), start=1)
    ]
    jsonl.write([Note("example", text, concepts, notes[0].relations[:2])], tmp_path / "examples.jsonl")
    file = {"@misc": FILE, "path": str(tmp_path / "examples.jsonl")}
    nlp = build_for_both(tiny_decoder, examples=file, concepts={"per_type": per_type}, relations={"per_type": per_type})
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    text = "\n\n".join(prompts(nlp, examples))
    for part in shown:
        assert part in text
    (tmp_path / "examples.jsonl").unlink()
    nlp.to_disk(tmp_path / "model")
    assert prompts(spacy.load(tmp_path / "model"), examples) == prompts(nlp, examples)
    other = build_for_both(
        tiny_decoder, examples=file, concepts={"per_type": per_type}, relations={"per_type": per_type}
    )
    assert prompts(other.from_bytes(nlp.to_bytes()), examples) == prompts(nlp, examples)


def test_sampled_examples_show_every_type_and_depend_on_the_seed(tiny_decoder: str, make_examples: Examples) -> None:
    def shown(number: int, seed: int) -> list[Note]:
        nlp = build_for_both(tiny_decoder, examples={"@misc": SAMPLED, "number": number, "seed": seed})
        examples = [*make_examples(nlp), Example(nlp.make_doc(""), nlp.make_doc(""))]
        nlp.initialize(lambda: examples)
        return nlp.get_pipe("clinie_decoder_prompt").shown_examples[""]  # type: ignore[attr-defined]

    assert {one.label for note in shown(2, 0) for one in note.concepts} == {
        "Drug",
        "Strength",
        "Reason",
        "ADE",
        "Order",
    }
    assert shown(4, 0) == shown(4, 0)
    assert shown(4, 0)[:2] == shown(2, 0)
    assert any(shown(4, seed) != shown(4, 0) for seed in range(1, 4))
    for note in shown(12, 0):
        note.check()
        assert "\n" not in note.text


@pytest.mark.parametrize("grounded", [True, False])
def test_mentions_of_examples_are_not_found_in_other_texts(
    grounded: bool, tiny_decoder: str, make_examples: Examples
) -> None:
    """Not even if the model repeats the answer of an example."""
    concepts = {"grounded": grounded, "format": {"@misc": "spacy_clinie.MentionList.v1"}}
    nlp = build_for_both(tiny_decoder, examples={"@misc": SAMPLED, "number": 6}, concepts=concepts, relations=None)
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    pipe: Any = nlp.get_pipe("clinie_decoder_prompt")
    [prompt], [shown] = pipe.batch(examples[:1])
    assert "aspirin»Drug\n" in module_of(pipe).tokenizer.decode([*prompt.prefix, *shown])

    def repeat(prompts: Any, constraints: Any) -> None:
        for prompt, constraint in zip(prompts, constraints, strict=True):
            if constraint.allowed() is None or shown[0] in constraint.allowed():
                write(constraint, shown)
            else:
                babble(module_of(pipe), [prompt], [constraint])

    module_of(pipe).generate = repeat
    labels = {one.label_ for one in get_spans(nlp(examples[0].text))}
    assert labels == {"Drug", "Strength", "Reason", "ADE", "Order"}
    doc = nlp("Seen by the cardiologist on Monday.")
    assert all(span.text in doc.text for span in get_spans(doc))
    assert bool(get_spans(doc)) == grounded
    assert doc.user_data.get("clinie_rejected") == (None if grounded else {"text": 5})


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('{"id": "1", "text": "aspirin", "concepts": [{"start": 0, "end": 99, "label": "Drug"}]}\n', "CIE327.*jsonl:1"),
        ('{"id": "1", "text": "aspirin", "concepts": [{"start": 0, "end": 7, "label": "Pet"}]}\n', "CIE460.*Pet"),
        ("nothing\n", "CIE2"),
    ],
)
def test_invalid_examples_are_refused(lines: str, message: str, tiny_decoder: str, tmp_path: Path) -> None:
    (tmp_path / "examples.jsonl").write_text(lines, encoding="utf8")
    file = {"@misc": FILE, "path": str(tmp_path / "examples.jsonl")}
    nlp = build_for_both(tiny_decoder, examples=file, label_schema="n2c2_2018")
    with pytest.raises(ClinieError, match=message):
        nlp.initialize()


def test_sampling_from_nothing_is_an_error(tiny_decoder: str) -> None:
    nlp = build_for_both(tiny_decoder, examples={"@misc": SAMPLED, "number": 3}, label_schema="n2c2_2018")
    with pytest.raises(ClinieError, match="CIE327"):
        nlp.initialize()
