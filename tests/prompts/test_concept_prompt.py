"""Finding concepts as a prompting task: its prompts and questions."""

from typing import Any

import pytest

from spacy_clinie.doc.note import Concept, Note
from spacy_clinie.errors import ClinieError
from spacy_clinie.prompts.codec import Codec
from spacy_clinie.prompts.concept_prompt import concept_prompt
from spacy_clinie.prompts.formats import InlineMarks, MentionList
from spacy_clinie.schema import Schema


def test_a_brief_prompt_names_types_and_describes_none(codec: Codec) -> None:
    schema = Schema.load("phee")
    example = Note("example", "Rash after aspirin.", [Concept("1", 0, 4, "ADE")])
    brief = concept_prompt(template="concepts_brief.v1").render(schema, ["Drug", "ADE"], [example])
    prefix, _ = codec.encode_prompt(brief)
    text = codec.tokenizer.backend_tokenizer.decode(prefix)
    assert "Find Drug, ADE in the text. Copy the text." in text
    assert "«Rash»ADE» after aspirin." in text
    assert schema.concepts["ADE"].description not in text


@pytest.mark.parametrize("names", [("A", "A»B"), ("A»B", "A"), ("A", "A\nB")])
@pytest.mark.parametrize("form", [InlineMarks(), MentionList()], ids=["inline", "list"])
def test_types_that_an_answer_cannot_name_are_refused(names: tuple[str, str], form: Any, codec: Codec) -> None:
    schema = Schema.from_dict({"name": "mine", "concepts": {name: {} for name in names}})
    with pytest.raises(ClinieError, match="CIE332"):
        concept_prompt(format=form).questions(schema, codec, [])


def test_one_question_for_each_type(codec: Codec) -> None:
    schema = Schema.load("phee")
    questions = concept_prompt(per_type=True).questions(schema, codec, [])
    assert [question.kinds for question in questions] == [(i,) for i in range(len(schema.concepts))]
    texts = [codec.tokenizer.backend_tokenizer.decode(list(question.prefix)) for question in questions]
    for text, concept in zip(texts, schema.concepts.values(), strict=True):
        assert concept.question in text


def test_examples_carry_their_answers(codec: Codec) -> None:
    schema = Schema.load("phee")
    concepts = [Concept("1", 0, 4, "ADE"), Concept("2", 11, 18, "Drug"), Concept("3", 5, 10, "Route")]
    example = Note("example", "Rash after aspirin.", concepts)
    prefix, _ = codec.encode_prompt(concept_prompt().render(schema, ["Drug", "ADE"], [example]))
    assert "«Rash»ADE» after« aspirin»Drug»." in codec.tokenizer.backend_tokenizer.decode(prefix)
