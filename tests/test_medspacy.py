"""In a pipeline of medspaCy, which has the environment of constraints/medspacy.txt."""

import pytest

import spacy_clinie

pytestmark = pytest.mark.environment
medspacy = pytest.importorskip("medspacy", reason="not installed; constraints/medspacy.txt has it")


def test_its_context_reads_our_concepts() -> None:
    nlp = medspacy.load()
    ours = spacy_clinie.load("open-minilm")
    for name in ours.pipe_names:
        nlp.add_pipe(name, source=ours, before="medspacy_context")
    doc = nlp("The patient denies chest pain. Started metformin for type 2 diabetes.")
    ours = {(span.start, span.end) for span in doc.spans["clinie"]}
    assert ours
    assert {(ent.start, ent.end) for ent in doc.ents} <= ours
    assert [ent._.is_negated for ent in doc.ents] == [ent.sent.start == 0 for ent in doc.ents]
    assert doc._.rel == []
