"""Annotating many notes: nothing lost, nothing done twice, whatever happens on the way."""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc

from spacy_clinie import set_relations
from spacy_clinie.annotate import runner
from spacy_clinie.annotate.runner import annotate
from spacy_clinie.doc.concepts import ID_KEY, add_concepts, get_spans
from spacy_clinie.doc.interchange import doc_from_note
from spacy_clinie.doc.note import Concept, Note
from spacy_clinie.doc.relations import get_relations
from spacy_clinie.doc.report import Report
from spacy_clinie.errors import ClinieError, ClinieWarning
from spacy_clinie.formats import brat, docbin
from spacy_clinie.scoring.evaluate import evaluate

TEXT = "Aspirin for headache and fever."
PATTERNS = [{"label": "Drug", "pattern": "Aspirin"}, {"label": "Reason", "pattern": "headache"}]


@Language.component("clinie_test_trouble")
def trouble(doc: Doc) -> Doc:
    """Relates the first two concepts, and does what the text tells it to do wrong."""
    if "EXPLODE" in doc.text:
        raise RuntimeError(f"[E999] cannot process {doc.text}")
    if len(doc.ents) > 1:
        set_relations(doc, [(doc.ents[1], doc.ents[0], "Reason-Drug", 0.5)])
    if "CHANGE" in doc.text:
        return Doc(doc.vocab, words=["other"])
    return doc


@Language.component("clinie_test_fever")
def find_fever(doc: Doc) -> Doc:
    """Finds what a component of ours would."""
    add_concepts(doc, [(token.i, token.i + 1, "Sign", 0.5) for token in doc if token.text == "fever"])
    return doc


class Dropper:
    """Answers trouble in a batch as spaCy's components do with an error handler that only logs: by dropping it all."""

    def __call__(self, doc: Doc) -> Doc:
        return doc

    def pipe(self, stream: Iterable[Doc], **_: Any) -> Iterator[Doc]:
        docs = list(stream)
        if not any("VANISH" in doc.text for doc in docs):
            yield from docs


@Language.factory("clinie_test_dropper")
def make_dropper(nlp: Language, name: str) -> Dropper:  # noqa: ARG001
    return Dropper()


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    return make_pipeline(tmp_path)


def make_pipeline(tmp_path: Path) -> Path:
    nlp = spacy.blank("en")
    ruler: Any = nlp.add_pipe("entity_ruler")
    ruler.add_patterns(PATTERNS)
    nlp.add_pipe("clinie_test_dropper")
    nlp.add_pipe("clinie_test_trouble")
    nlp.to_disk(tmp_path / "pipeline")
    return tmp_path / "pipeline"


def write_lines(path: Path, texts: dict[str, str]) -> Path:
    path.write_text("".join(json.dumps({"id": key, "text": text}) + "\n" for key, text in texts.items()))
    return path


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def spy(call: Callable[..., dict[str, str]], seen: list[str]) -> Callable[..., dict[str, str]]:
    def listen(nlp: Language, notes: list[Note], failures: Report) -> dict[str, str]:
        seen.extend(note.id for note in notes)
        return call(nlp, notes, failures)

    return listen


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if ".part" in path.name or ".errors" in path.name)


def test_folder_of_texts_to_jsonl(pipeline: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    (notes / "ward").mkdir(parents=True)
    (notes / "a.txt").write_bytes(b"Aspirin\r\nfor headache.")
    (notes / "ward" / "a.txt").write_text("No drugs.")
    summary = annotate(pipeline, notes, tmp_path / "out" / "notes.jsonl")
    first, second = read_lines(tmp_path / "out" / "notes.jsonl")
    assert (first["id"], second["id"]) == ("a", "ward/a")
    assert first["text"] == "Aspirin\r\nfor headache."
    assert [(c["start"], c["end"], c["label"]) for c in first["concepts"]] == [(0, 7, "Drug"), (13, 21, "Reason")]
    assert [(r["label"], r["score"]) for r in first["relations"]] == [("Reason-Drug", 0.5)]
    assert (summary.notes, summary.concepts, summary.relations, summary.failed) == (2, 2, 1, 0)
    assert summary.errors is None
    assert leftovers(tmp_path / "out") == []


def test_ids_and_texts_are_those_that_evaluate_reads(pipeline: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    gold = [Note("n1", TEXT), Note("x/n2", TEXT), Note("y/n2", TEXT), Note("readme", TEXT), Note("empty", "")]
    gold.append(Note("bom", f"\ufeff {TEXT}"))
    brat.write(gold, notes / "ward")
    # As a tool writes it that takes the byte order mark off when it reads.
    (notes / "ward" / "bom.ann").write_text("T1\tDrug 1 8\tAspirin\n")
    (notes / "ward" / "crlf.TXT").write_bytes(b"For\r\nAspirin")
    (notes / "ward" / "crlf.ann").write_text("T1\tDrug 4 11\tAspirin\n")
    (notes / "LICENSE.txt").write_text("Aspirin")
    summary = annotate(pipeline, notes, tmp_path / "out.jsonl")
    ids = [record["id"] for record in read_lines(tmp_path / "out.jsonl")]
    assert ids == ["bom", "crlf", "empty", "n1", "readme", "ward/x/n2", "ward/y/n2"]
    result = evaluate(notes, tmp_path / "out.jsonl", resamples=0)
    assert (result["documents"], result["missing_documents"], result["extra_documents"]) == (7, 0, 0)
    assert result["concepts"]["strict"]["micro"]["tp"] == 2
    assert [remark.reason for remark in summary.report.remarks("left_out")] == ["file about the corpus, not a note"]


def test_entities_of_other_components_are_written_beside_ours(pipeline: Path, tmp_path: Path) -> None:
    nlp = spacy.load(pipeline)
    nlp.add_pipe("clinie_test_fever")
    nlp.to_disk(pipeline)
    source = write_lines(tmp_path / "in.jsonl", {"a": TEXT})
    annotate(pipeline, source, tmp_path / "out.jsonl")
    annotate(pipeline, source, tmp_path / "out.spacy")
    (note,) = read_lines(tmp_path / "out.jsonl")
    assert sorted((c["label"], c["start"]) for c in note["concepts"]) == [("Drug", 0), ("Reason", 12), ("Sign", 25)]
    assert len({c["id"] for c in note["concepts"]}) == 3
    (again,) = (sourced.note for sourced in docbin.read(tmp_path / "out.spacy", Report()))
    assert {(c.label, c.start) for c in again.concepts} == {("Drug", 0), ("Reason", 12), ("Sign", 25)}


def test_annotation_in_the_input_is_ignored(pipeline: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    record = {"id": 7, "text": TEXT, "concepts": [{"id": "X", "start": 5, "end": 900, "label": "Wrong"}]}
    source.write_text(json.dumps(record))
    summary = annotate(pipeline, source, tmp_path / "out.jsonl")
    (note,) = read_lines(tmp_path / "out.jsonl")
    assert note["id"] == "7"
    assert [c["label"] for c in note["concepts"]] == ["Drug", "Reason"]
    assert summary.failed == 0


@pytest.mark.parametrize("batch_size", [1, 4, 256])
def test_failing_notes_are_listed_and_the_rest_goes_on(pipeline: Path, tmp_path: Path, batch_size: int) -> None:
    texts = {str(i): TEXT for i in range(9)}
    texts |= {"3": "EXPLODE, Mr Secret", "5": "VANISH, Mr Secret", "6": "CHANGE, Mr Secret"}
    source, target = write_lines(tmp_path / "in.jsonl", texts), tmp_path / "out.jsonl"
    with pytest.warns(ClinieWarning, match=r"CIE436.*3 note"):
        summary = annotate(pipeline, source, target, batch_size=batch_size)
    assert [note["id"] for note in read_lines(target)] == ["0", "1", "2", "4", "7", "8"]
    assert all(len(note["concepts"]) == 2 for note in read_lines(target))
    assert (summary.notes, summary.failed) == (6, 3)
    assert summary.errors is not None
    errors = summary.errors.read_text()
    assert "Secret" not in errors
    listed = {record["id"]: (record["problem"], record["code"]) for record in map(json.loads, errors.splitlines())}
    assert listed == {"3": ("RuntimeError", "E999"), "5": ("ClinieError", "CIE431"), "6": ("ClinieError", "CIE432")}
    assert json.loads(errors.splitlines()[0])["at"].startswith("test_apply.py:")


def test_strict_raises_after_the_output_is_written(pipeline: Path, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "in.jsonl", {"a": TEXT, "b": "EXPLODE"})
    with pytest.raises(ClinieError, match=r"CIE437.*1 not annotated"):
        annotate(pipeline, source, tmp_path / "out.jsonl", strict=True)
    assert len(read_lines(tmp_path / "out.jsonl")) == 1


def test_unreadable_lines_and_files(pipeline: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    good = json.dumps({"id": "a", "text": TEXT}).encode()
    source.write_bytes(good + b'\n{"id": "b"}\n\n\xff\xfe\n17\n{"id": "c", "te')
    with pytest.warns(ClinieWarning, match="CIE436"):
        summary = annotate(pipeline, source, tmp_path / "out.jsonl")
    assert summary.notes == 1
    assert summary.errors == tmp_path / "out.jsonl.errors.jsonl"
    assert [record["line"] for record in read_lines(summary.errors)] == [2, 4, 5, 6]

    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "good.txt").write_text(TEXT)
    (notes / "latin.txt").write_bytes("Fi\xe8vre".encode("latin-1"))
    with pytest.warns(ClinieWarning, match="CIE436"):
        summary = annotate(pipeline, notes, tmp_path / "out2.jsonl")
    (record,) = read_lines(tmp_path / "out2.jsonl.errors.jsonl")
    assert record["file"].endswith("latin.txt") and record["line"] == 1
    with pytest.raises(ClinieError, match="CIE437"):
        annotate(pipeline, notes, tmp_path / "out2.jsonl", strict=True)


def test_odd_notes(pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "BATCH_CHARACTERS", 50_000)
    long = "x. " * 400_000 + TEXT
    texts = {
        "empty": "",
        "blank": " \n",
        "bell": "\x00\x07 Aspirin \u2028 headache 👩‍👩‍👧",
        "long": long,
        "half": "\ud83d Aspirin",
    }
    source = write_lines(tmp_path / "in.jsonl", texts)
    source.write_text(source.read_text() + json.dumps({"id": "bell", "text": TEXT}) + "\n")
    summary = annotate(pipeline, source, tmp_path / "out.jsonl")
    notes = {note["id"]: note for note in read_lines(tmp_path / "out.jsonl")}
    assert list(notes) == ["empty", "blank", "bell", "long", "half", "bell~2"]
    assert summary.failed == 0
    assert notes["empty"]["text"] == "" and notes["blank"]["concepts"] == []
    assert notes["half"]["text"] == "\ufffd Aspirin"
    for key in ("bell", "long", "bell~2"):
        text = long if key == "long" else texts["bell"] if key == "bell" else TEXT
        assert notes[key]["text"] == text
        assert [text[c["start"] : c["end"]] for c in notes[key]["concepts"]] == ["Aspirin", "headache"]
    with pytest.raises(ClinieError, match=r"CIE437.*2 changed.*; duplicate note id"):
        annotate(pipeline, source, tmp_path / "out.jsonl", strict=True)


def test_docs_without_words_never_reach_the_pipeline(
    pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def look(self: Dropper, stream: Iterable[Doc], **_: Any) -> Iterator[Doc]:
        for doc in stream:
            seen.append(doc.text)
            yield self(doc)

    monkeypatch.setattr(Dropper, "pipe", look)
    annotate(pipeline, write_lines(tmp_path / "in.jsonl", {"a": "", "b": " \t", "c": TEXT}), tmp_path / "out.jsonl")
    assert seen == [TEXT]


def test_every_output_holds_the_same(pipeline: Path, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "in.jsonl", {"a": TEXT, "b/c": "Aspirin <b>", "d": "none"})
    for name in ("out.jsonl", "out.spacy", "out.html", "out"):
        summary = annotate(pipeline, source, tmp_path / name)
        assert (summary.notes, summary.concepts, summary.relations) == (3, 3, 1)
    assert leftovers(tmp_path) == []
    expected = [Note.from_dict(record) for record in read_lines(tmp_path / "out.jsonl")]
    assert [sourced.note for sourced in docbin.read(tmp_path / "out.spacy", Report())] == expected

    report = Report()
    written = [sourced.note for sourced in brat.read(tmp_path / "out", report)]
    assert report.problems == 0
    for found, note in zip(written, expected, strict=True):
        assert [c.offsets for c in found.concepts] == [c.offsets for c in note.concepts]
    assert "Aspirin" in (tmp_path / "out.html").read_text("utf-8")


def test_docbin_as_input(pipeline: Path, tmp_path: Path) -> None:
    nlp = spacy.blank("de")
    named, _ = doc_from_note(nlp, Note("n1", TEXT, [Concept("C1", 0, 3, "Wrong")]))
    plain = nlp("Aspirin  again")
    docbin.save([named, plain], tmp_path / "in.spacy")
    annotate(pipeline, tmp_path / "in.spacy", tmp_path / "out.jsonl")
    first, second = read_lines(tmp_path / "out.jsonl")
    assert (first["id"], second["id"]) == ("n1", "in-2")
    assert second["text"] == "Aspirin  again"
    assert [c["label"] for c in first["concepts"]] == ["Drug", "Reason"]
    (tmp_path / "bad.spacy").write_bytes(b"not a DocBin")
    with pytest.raises(ClinieError, match="CIE439"):
        annotate(pipeline, tmp_path / "bad.spacy", tmp_path / "out.jsonl")


def test_a_pipeline_that_fails_for_every_note_leaves_no_output(pipeline: Path, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "in.jsonl", {"a": "EXPLODE", "b": "EXPLODE"})
    with pytest.raises(ClinieError, match=r"^\[CIE447\] None of the 2 .*E999"):
        annotate(pipeline, source, tmp_path / "out.jsonl")
    assert leftovers(tmp_path) == ["out.jsonl.errors.jsonl"]
    assert not (tmp_path / "out.jsonl").exists()


@Language.component("clinie_test_silent")
def leave_unanswered(doc: Doc) -> Doc:
    """Says what a language model of ours would of questions that it did not answer."""
    doc.user_data["clinie_rejected"] = {"unanswered": 2, "concept": 1}
    return doc


def test_questions_without_an_answer_are_listed(pipeline: Path, tmp_path: Path) -> None:
    nlp = spacy.load(pipeline)
    nlp.add_pipe("clinie_test_silent")
    nlp.to_disk(tmp_path / "silent")
    source, target = write_lines(tmp_path / "in.jsonl", {"a": TEXT}), tmp_path / "out.jsonl"
    with pytest.warns(ClinieWarning, match="CIE436"):
        summary = annotate(tmp_path / "silent", source, target)
    assert (summary.notes, summary.failed, summary.rejected) == (1, 1, {"unanswered": 2, "concept": 1})
    assert read_lines(tmp_path / "out.jsonl.errors.jsonl") == [
        {"id": "a", "problem": "questions not answered", "count": 2}
    ]
    with pytest.raises(ClinieError, match="CIE437"):
        annotate(tmp_path / "silent", source, target, strict=True)


def test_written_docs_carry_ids_and_relations(pipeline: Path, tmp_path: Path) -> None:
    annotate(pipeline, write_lines(tmp_path / "in.jsonl", {"a": TEXT}), tmp_path / "out.spacy")
    (doc,) = spacy.tokens.DocBin().from_disk(tmp_path / "out.spacy").get_docs(spacy.blank("en").vocab)
    assert doc.user_data[ID_KEY] == "a"
    (relation,) = get_relations(doc)
    assert (relation.head.text, relation.tail.text, relation.score) == ("headache", "Aspirin", 0.5)
    assert [span.text for span in get_spans(doc)] == ["Aspirin", "headache"]


def test_batches_end_at_a_number_of_notes_or_characters() -> None:
    notes = [Note(str(i), "x" * size) for i, size in enumerate([3, 3, 3, 3, 50, 1, 9, 0, 0, 0, 0])]
    batches = [[len(note.text) for note in batch] for batch in runner._batches(notes, 4, 10)]
    assert batches == [[3, 3, 3], [3], [50], [1, 9, 0, 0], [0, 0]]


def test_a_pipeline_behind_a_link_is_told_from_what_it_was(pipeline: Path, tmp_path: Path) -> None:
    (pipeline / "entity_ruler").rename(tmp_path / "elsewhere")
    (pipeline / "entity_ruler").symlink_to(tmp_path / "elsewhere")
    before = runner._pipeline_fingerprint(spacy.load(pipeline))
    patterns = tmp_path / "elsewhere" / "patterns.jsonl"
    patterns.write_text(patterns.read_text() + json.dumps({"label": "Drug", "pattern": "Other"}) + "\n")
    assert runner._pipeline_fingerprint(spacy.load(pipeline)) != before


@Language.component("clinie_test_unlabelled")
def leave_unlabelled(doc: Doc) -> Doc:
    doc.spans["clinie"] = [doc[:1]] if "EXPLODE" in doc.text else []
    return doc


def test_a_concept_without_a_label_fails_its_note_and_not_the_job(tmp_path: Path) -> None:
    nlp = spacy.blank("en")
    nlp.add_pipe("clinie_test_unlabelled")
    nlp.to_disk(tmp_path / "model")
    source = write_lines(tmp_path / "notes.jsonl", {"a": TEXT, "b": f"EXPLODE {TEXT}"})
    with pytest.warns(ClinieWarning, match="CIE436"):
        summary = annotate(tmp_path / "model", source, tmp_path / "out.jsonl")
    assert (summary.notes, summary.failed) == (1, 1)
    (failure,) = read_lines(tmp_path / "out.jsonl.errors.jsonl")
    assert failure["id"] == "b"


def test_a_pipeline_with_code_of_ones_own(tmp_path: Path) -> None:
    code = tmp_path / "mine.py"
    code.write_text("""from spacy.language import Language

@Language.component("clinie_test_of_ones_own")
def rules(doc):
    doc.ents = [doc.char_span(0, 7, "Drug")]
    return doc
""")
    nlp = spacy.blank("en")
    config = nlp.config.copy()
    config["nlp"]["pipeline"] = ["mine"]
    config["components"] = {"mine": {"factory": "clinie_test_of_ones_own"}}
    nlp.to_disk(tmp_path / "model")
    config.to_disk(tmp_path / "model" / "config.cfg")
    source = write_lines(tmp_path / "notes.jsonl", {"a": TEXT})
    with pytest.raises(ClinieError, match=r"CIE448.*clinie_test_of_ones_own.*--code"):
        annotate(tmp_path / "model", source, tmp_path / "out.jsonl")
    assert annotate(tmp_path / "model", source, tmp_path / "out.jsonl", code=code).concepts == 1
    fingerprint = runner._pipeline_fingerprint(spacy.load(tmp_path / "model"), None, code)
    code.write_text(code.read_text() + "\n")
    assert runner._pipeline_fingerprint(spacy.load(tmp_path / "model"), None, code) != fingerprint
