"""Tables of concepts and relations in a terminal."""

from spacy_clinie.annotate.tables import table
from spacy_clinie.doc.note import Concept, Note, Relation


def test_table_is_aligned_and_safe_for_terminals() -> None:
    text = "患者は発熱がある。 e\u0301patite \x1b[31mred 😀 x"
    note = Note("n", text)
    for i, words in enumerate(("発熱", "e\u0301patite", "\x1b[31mred", "😀")):
        start = text.index(words)
        note.concepts.append(Concept(str(i), start, start + len(words), "Problem", 0.5))
    note.relations = [Relation("0", "1", "rel", 1.0)]
    lines = table(note)
    assert lines[0].split() == ["Concept", "Type", "Score"]
    assert not any("\x1b" in line for line in lines)
    assert [line.removesuffix("Problem  0.50") for line in lines[2:6]] == [
        "発熱" + " " * 6,
        "e\u0301patite" + " " * 3,
        "␛[31mred" + " " * 2,
        "😀" + " " * 8,
    ]
    assert lines[-1].split() == ["発熱", "rel", "→", "e\u0301patite", "1.00"]
    assert len(table(Note("n", ""))) == 2
    long = "x" * 1_000_000  # of which every look takes a second
    (line,) = table(Note("n", "rash", [Concept("C1", 0, 4, long)]))[2:]
    assert line.split() == ["rash", "x" * 39 + "…", "–"]
