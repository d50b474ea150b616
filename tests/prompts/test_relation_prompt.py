"""Finding relations as a prompting task: its prompts."""

from spacy_clinie.doc.note import Concept, Note, Relation
from spacy_clinie.prompts.codec import Codec
from spacy_clinie.prompts.relation_prompt import CandidatePair, ConceptMark, RelationWindow, relation_prompt
from spacy_clinie.schema import Schema


def test_a_brief_prompt_for_relations_names_types_and_describes_none(codec: Codec) -> None:
    schema = Schema.load("phee")
    kinds = list(schema.relations.values())
    text = codec.encode("aspirin rash", after_text=True)
    marks = [
        ConceptMark(0, 0, False),
        ConceptMark(len(text) // 2, 0, True),
        ConceptMark(len(text) // 2, 1, False),
        ConceptMark(len(text), 1, True),
    ]
    stretch = RelationWindow(0, text, marks, [CandidatePair(0, 1, (0,))], [("aspirin", "Drug"), ("rash", "ADE")])
    example = Note("1", "Rash after aspirin.", [Concept("1", 0, 4, "ADE"), Concept("2", 11, 18, "Drug")])
    example.relations.append(Relation("1", "2", kinds[0].name))
    prompt = relation_prompt(template="relations_brief.v1")
    (asked,) = prompt.queries(stretch, schema, codec, [example])
    before = codec.tokenizer.backend_tokenizer.decode(asked.prompt_ids.prefix)
    assert f"number, {' or '.join(one.name for one in kinds)}, number." in before
    assert f"aspirin»2 Drug».\nAnswer:\n1 {kinds[0].name} 2" in before
    assert not any(one.description in before for one in kinds)
