"""Our tasks and our model in spacy-llm's `llm` component."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Iterable, Optional  # noqa: UP035  (spacy-llm knows no other)

import pytest
import spacy
from spacy.language import Language
from spacy.training import Example

from spacy_clinie.doc.concepts import add_concepts, get_details, get_scores, get_spans
from spacy_clinie.doc.note import Concept, Note
from spacy_clinie.doc.relations import get_relations
from spacy_clinie.errors import ClinieError
from spacy_clinie.formats import jsonl
from spacy_clinie.schema import Schema
from tests.tiny import make_decoder

pytest.importorskip("spacy_llm")
from spacy_llm.registry import registry

pytestmark = pytest.mark.environment

TEXT = "Took aspirin 25mg for pain.\n\nThen aspirin caused rash."
NOTE = f"{TEXT} " * 40


@pytest.fixture
def answer_with() -> Callable[[Callable[[str], str]], dict[str, str]]:
    """Registers a model that answers by a function."""

    def register(function: Callable[[str], str]) -> dict[str, str]:
        def make() -> Callable[[Iterable[Iterable[Any]]], Iterable[Iterable[Any]]]:
            def model(prompts: Iterable[Iterable[Any]]) -> Iterable[Iterable[Any]]:
                return [[function(prompt) for prompt in own] for own in prompts]

            return model

        registry.llm_models.register("test.Model.v1", func=make)
        return {"@llm_models": "test.Model.v1"}

    return register


def build(model: dict[str, Any], concepts: Optional[dict[str, Any]], relations: Optional[dict[str, Any]]) -> Language:
    nlp = spacy.blank("en", config={"nlp": {"tokenizer": {"@tokenizers": "spacy_clinie.ClinicalTokenizer.v1"}}})
    tasks = {"spacy_clinie.Concepts.v1": concepts, "spacy_clinie.Relations.v1": relations}
    for name, settings in tasks.items():
        if settings is not None:
            task = {"@llm_tasks": name, "label_schema": "n2c2_2018", **settings}
            nlp.add_pipe("llm", name=name, config={"task": task, "model": model, "save_io": True})
    return nlp


def shown(prompt: str) -> str:
    """The window of a prompt."""
    return prompt.rpartition("Text:\n")[2].removesuffix("\nAnswer:")


def marked(prompt: str) -> str:
    words = {"aspirin": "Drug", "25mg": "Strength", "pain": "Reason", "rash": "ADE"}
    return re.sub(r"\b(aspirin|25mg|pain|rash)\b", lambda found: f"«{found[0]}»{words[found[0]]}»", shown(prompt))


@pytest.mark.parametrize("window", [24, 192])
def test_concepts_in_long_notes_have_exact_offsets(answer_with: Any, window: int) -> None:
    nlp = build(answer_with(marked), {"window": window, "overlap": 4}, None)
    doc, empty = nlp.pipe([NOTE, ""])
    found = {(span.start_char, span.end_char, span.label_) for span in get_spans(doc)}
    expected = {
        (match.start(), match.end(), label)
        for words, label in (("aspirin", "Drug"), ("25mg", "Strength"), ("pain", "Reason"), ("rash", "ADE"))
        for match in re.finditer(words, NOTE)
    }
    assert found == expected
    assert set(get_scores(doc)) == {None}
    assert {detail["status"] for detail in get_details(doc).values()} <= {"exact", "order"}
    assert len(doc.user_data["llm_io"]["spacy_clinie.Concepts.v1"]["prompt"]) > (200 // window)
    assert not get_spans(empty)
    assert "clinie_rejected" not in doc.user_data


def test_a_repeated_word_is_found_where_it_is_marked(answer_with: Any) -> None:
    text = "Denies rash. Aspirin stopped. Later developed a rash. No rash now."
    nlp = build(answer_with(lambda prompt: shown(prompt).replace("a rash", "a« rash»ADE»")), {}, None)
    doc = nlp(text)
    assert [(span.start_char, span.end_char) for span in get_spans(doc)] == [(48, 52)]
    assert "clinie_rejected" not in doc.user_data


def test_incomplete_copies_are_counted(answer_with: Any) -> None:
    doc = build(answer_with(lambda prompt: marked(prompt)[:60]), {}, None)(NOTE)
    assert doc.user_data["clinie_rejected"]["unanswered"] == len(
        doc.user_data["llm_io"]["spacy_clinie.Concepts.v1"]["prompt"]
    )


def test_mentions_that_the_note_does_not_contain_are_rejected_and_counted(answer_with: Any) -> None:
    listed = {"format": {"@misc": "spacy_clinie.MentionList.v1"}}
    said = "Sure! Here you are:\nmorphine»Drug\naspirin»Drug\naspirin»Drug\naspirin»Drug\npain»Pet\n"
    doc = build(answer_with(lambda _: said), listed, None)(TEXT)
    assert [(span.text, span.label_) for span in get_spans(doc)] == [("aspirin", "Drug")] * 2
    assert sum(doc.user_data["clinie_rejected"].values()) >= 3


@pytest.mark.parametrize("per_type", [False, True], ids=["instruct", "mrc"])
def test_relations_are_named_by_numbers(answer_with: Any, per_type: bool) -> None:
    asked: list[str] = []

    def answer(prompt: str) -> str:
        if "»1 " not in prompt:
            return marked(prompt)
        asked.append(prompt)
        if not per_type:
            return "- 2 Strength-Drug 1\n* 3 Reason-Drug 1.\n5 ADE-Drug 4\n1 Reason-Drug 3\nthat is all"
        drug = {"25mg": "1", "pain": "1", "rash": "4"}
        head = re.findall(r"Question: .*«(.+?)»\d", prompt)[-1]
        return f"{drug[head]}\n"

    nlp = build(answer_with(answer), {}, {"per_type": per_type})
    [doc] = nlp.pipe([TEXT])
    found = {(rel.head.text, rel.label, rel.tail.text, rel.tail.start_char, rel.score) for rel in get_relations(doc)}
    assert found == {
        ("25mg", "Strength-Drug", "aspirin", 5, None),
        ("pain", "Reason-Drug", "aspirin", 5, None),
        ("rash", "ADE-Drug", "aspirin", TEXT.rindex("aspirin"), None),
    }
    assert all("Took« aspirin»1 Drug»« 25mg»2 Strength»" in prompt for prompt in asked)
    assert doc.user_data.get("clinie_rejected") == (None if per_type else {"relation": 2})


def test_relation_types_are_those_of_the_schema_that_a_doc_names(answer_with: Any) -> None:
    nlp = build(answer_with(lambda _: "2 Strength-Drug 1"), None, {"label_schema": "phee"})
    doc = nlp.make_doc(TEXT)
    add_concepts(doc, [(1, 2, "Drug", None), (2, 3, "Strength", None)])
    doc.user_data["clinie_schema"] = "n2c2_2018"
    assert {rel.label for rel in get_relations(nlp(doc))} == {"Strength-Drug"}


def test_examples_of_a_file_are_shown_and_drawn_ones_refused(answer_with: Any, tmp_path: Path) -> None:
    note = Note("example", "On warfarin", [Concept("T1", 3, 11, "Drug")])
    jsonl.write([note], tmp_path / "examples.jsonl")
    file = {"@misc": "spacy_clinie.ExampleFile.v1", "path": str(tmp_path / "examples.jsonl")}
    asked: list[str] = []
    nlp = build(answer_with(lambda prompt: asked.append(prompt) or ""), {"examples": file}, None)
    nlp(TEXT)
    assert "Text:\nOn warfarin\nAnswer:\nOn« warfarin»Drug»" in asked[0]
    with pytest.raises(ClinieError, match="CIE327"):
        build(answer_with(str), {"examples": {"@misc": "spacy_clinie.SampledExamples.v1", "number": 3}}, None)


def test_types_that_an_answer_cannot_name_are_refused(answer_with: Any, tmp_path: Path) -> None:
    schema = Schema.from_dict({"name": "mine", "concepts": {"Drug": {}, "Dr»ug": {}}})
    (tmp_path / "mine.yml").write_text(schema.to_yaml(), encoding="utf8")
    nlp = build(answer_with(str), {"label_schema": str(tmp_path / "mine.yml")}, None)
    with pytest.raises(ClinieError, match="CIE332"):
        nlp(TEXT)


def test_our_tasks_are_scored(answer_with: Any, make_examples: Callable[[Language], list[Example]]) -> None:
    nlp = build(answer_with(marked), {}, None)
    examples = make_examples(nlp)[:1]
    assert nlp.evaluate(examples)["concepts_p"] == 1.0


def test_our_model_answers_the_tasks_of_spacy_llm(tmp_path: Path) -> None:
    model = {"@llm_models": "spacy_clinie.CausalLM.v1", "base": make_decoder(tmp_path), "device": "cpu"}
    model |= {"precision": "fp32", "max_new_tokens": 12}
    nlp = spacy.blank("en")
    task = {"@llm_tasks": "spacy.NER.v3", "labels": ["DRUG"]}
    nlp.add_pipe("llm", config={"task": task, "model": model, "save_io": True})
    texts = ["Took aspirin.", "No pain. <|im_end|>", "Rash after aspirin and ibuprofen, twice."]
    together = list(nlp.pipe(texts))
    answers = [doc.user_data["llm_io"]["llm"]["response"] for doc in together]
    assert [str(nlp(text).user_data["llm_io"]["llm"]["response"]) for text in texts] == [str(one) for one in answers]
    assert all(answers)
    both = build(model, {}, {})
    assert both(TEXT).text == TEXT


def test_the_default_answer_length_allows_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from spacy_clinie.components.spacy_llm import LocalModel

    model = LocalModel(base=make_decoder(tmp_path), device="cpu", precision="fp32")
    limits: list[int] = []
    monkeypatch.setattr(model._module, "generate", lambda _, given: limits.extend(one.max_tokens for one in given))
    list(model([["Took aspirin.", "aspirin 25mg " * 100]]))
    assert limits[0] == 512
    assert limits[1] > 2 * 200


def test_a_task_lists_its_labels(answer_with: Any) -> None:
    nlp = build(answer_with(str), {}, {})
    labels = {name: nlp.get_pipe(name)._task.labels for name in nlp.pipe_names}  # type: ignore[attr-defined]
    assert "Drug" in labels["spacy_clinie.Concepts.v1"]
    assert "Reason-Drug" in labels["spacy_clinie.Relations.v1"]
