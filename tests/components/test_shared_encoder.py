"""One encoder for several components."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example

from spacy_clinie.doc.concepts import get_spans
from spacy_clinie.training.optimizer import adamw
from tests.conftest import Examples, modules_of, tiny_settings
from tests.scripted import learn_by_heart
from tests.sharing import ENCODER, HEADS, TEXT, build_shared, changed, listener, said, weights


@pytest.mark.environment
def test_components_that_share_an_encoder_learn_together(trained: Language, make_examples: Examples) -> None:
    examples = make_examples(trained)
    scores = trained.evaluate(examples)
    assert (scores["concepts_f"], scores["relations_f"], scores["relations_gold_f"]) == (1.0, 1.0, 1.0)


@pytest.mark.environment
@pytest.mark.parametrize("way", ["disk", "bytes", "pickle"])
def test_what_shares_an_encoder_says_the_same_when_it_is_loaded(trained: Language, way: str, tmp_path: Path) -> None:
    expected = said(trained)
    assert all(expected)
    if way == "disk":
        trained.to_disk(tmp_path / "model")
        again = spacy.load(tmp_path / "model")
        files = [file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*.safetensors")]
        assert sorted(files) == [
            "model/clinie_encoder/model/torch/encoder/model.safetensors",
            "model/clinie_ner_encoder/model/torch/head.safetensors",
            "model/clinie_rel/model/torch/head.safetensors",
        ]
    elif way == "bytes":
        again = spacy.util.load_model_from_config(trained.config).from_bytes(trained.to_bytes())
    else:
        again = pickle.loads(pickle.dumps(trained))
    assert said(again) == expected
    assert [said(again, text) for text in ("", " \n ")] == [[[], []]] * 2
    assert [len(doc) for doc in again.pipe(["", TEXT, " "])] == [len(again.make_doc(one)) for one in ("", TEXT, " ")]


def test_several_processes_say_the_same(trained: Language) -> None:
    texts = [f"{TEXT} {number}" for number in range(4)]
    found = [[str(span) for span in get_spans(doc)] for doc in trained.pipe(texts, n_process=2, batch_size=2)]
    assert found == [[str(span) for span in get_spans(trained(text))] for text in texts]


@pytest.mark.parametrize("frozen", HEADS)
def test_the_encoder_learns_where_a_component_that_listens_is_frozen(
    frozen: str, tiny_bert: str, make_examples: Examples
) -> None:
    """With spaCy's own `tok2vec`, the last component that listens sends the gradients of all."""
    nlp = build_shared(tiny_bert)
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    sgd, before, others = adamw(1e-3), weights(nlp), weights(nlp, frozen)
    nlp.update(examples, sgd=False, exclude=[frozen])  # type: ignore[arg-type]
    for name, pipe in nlp.pipeline:
        if name != frozen:
            pipe.finish_update(sgd)  # type: ignore[attr-defined]
    assert changed(before, weights(nlp)) and not changed(others, weights(nlp, frozen))
    before = weights(nlp)
    nlp.update(examples, sgd=sgd, exclude=[frozen])
    assert not changed(before, weights(nlp))  # as the encoder still waits for the other one
    nlp.to_bytes()
    assert changed(before, weights(nlp)) and not changed(others, weights(nlp, frozen))
    nlp.update(examples, sgd=sgd, exclude=[frozen])
    assert pickle.loads(pickle.dumps(nlp))(TEXT)


def test_a_component_learns_on_an_encoder_that_is_frozen(tiny_bert: str, make_examples: Examples) -> None:
    nlp = build_shared(tiny_bert)
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    before, head = weights(nlp), weights(nlp, "clinie_rel")
    nlp.update(examples, sgd=adamw(1e-3), exclude=[ENCODER], annotates=[ENCODER])
    assert not changed(before, weights(nlp)) and changed(head, weights(nlp, "clinie_rel"))


def test_a_component_is_added_to_a_trained_encoder(trained: Language, make_examples: Examples, tmp_path: Path) -> None:
    """As `spacy train` does it: the encoder and the tagger are sourced, the encoder frozen and annotating."""
    trained.remove_pipe("clinie_rel")
    trained.to_disk(tmp_path / "model")
    config = trained.config.copy()
    for name in trained.pipe_names:
        config["components"][name] = {"source": str(tmp_path / "model")}
    model = {"@architectures": HEADS["clinie_rel"], "tok2vec": listener()}
    config["components"]["clinie_rel"] = {"factory": "clinie_rel", "model": model}
    config["nlp"]["pipeline"] = [*trained.pipe_names, "clinie_rel"]
    nlp = spacy.util.load_model_from_config(config, auto_fill=True)
    examples, expected = make_examples(nlp), said(trained)[0]
    with nlp.select_pipes(enable="clinie_rel"):
        nlp.initialize(lambda: examples)
    learn_by_heart(nlp, examples, exclude=[ENCODER, "clinie_ner_encoder"], annotates=[ENCODER])
    assert said(nlp)[0] == expected


def test_listeners_of_others_are_left_to_them_unless_they_name_the_encoder(
    tiny_bert: str, make_examples: Examples
) -> None:
    nlp = spacy.blank("en")
    tok2vec = {"@architectures": "spacy.HashEmbedCNN.v2", "pretrained_vectors": None, "width": 16, "depth": 1}
    tok2vec |= {"embed_size": 200, "window_size": 1, "maxout_pieces": 2, "subword_features": True}
    nlp.add_pipe("tok2vec", config={"model": tok2vec})
    nlp.add_pipe(ENCODER, config={"model": tiny_settings(tiny_bert)})
    reduce = {"use_reduce_first": False, "use_reduce_last": False, "use_reduce_max": False, "use_reduce_mean": True}
    for name, upstream, width in (("any", "*", 16), ("ours", ENCODER, 32)):
        layer = {"@architectures": "spacy.Tok2VecListener.v1", "width": width, "upstream": upstream}
        model = {"@architectures": "spacy.TextCatReduce.v1", "exclusive_classes": True, "tok2vec": layer, **reduce}
        nlp.add_pipe("textcat", name=name, config={"model": model})
    model = {"@architectures": HEADS["clinie_ner_encoder"], "tok2vec": listener()}
    nlp.add_pipe("clinie_ner_encoder", config={"model": model})
    assert nlp.get_pipe(ENCODER).listening_components == ["ours", "clinie_ner_encoder"]  # type: ignore[attr-defined]
    assert nlp.get_pipe("tok2vec").listening_components == ["any"]  # type: ignore[attr-defined]
    examples = make_examples(nlp)
    for example in examples:
        example.reference.cats = {"YES": 1.0, "NO": 0.0}
    nlp.initialize(lambda: examples)
    before = weights(nlp)
    nlp.update(examples, sgd=adamw(1e-3))
    assert changed(before, weights(nlp))


def test_tokens_may_be_merged_behind_the_encoder(trained: Language) -> None:
    @Language.component("merge_first_two")
    def merge(doc: Doc) -> Doc:
        with doc.retokenize() as retokenizer:
            retokenizer.merge(doc[0:2])
        return doc

    trained.add_pipe("merge_first_two", after=ENCODER)
    assert len(trained(TEXT)) == len(trained.make_doc(TEXT)) - 1


def steps(nlp: Language, examples: list[Example], sgd: Any, **more: Any) -> None:
    """A step as `spacy train` takes it, of one batch after the other."""
    for example in examples:
        nlp.update([example], sgd=False, drop=0.0, **more)  # type: ignore[arg-type]
    for name, pipe in nlp.pipeline:
        if name not in more.get("exclude", ()):
            pipe.finish_update(sgd)  # type: ignore[attr-defined]


def test_averages_may_be_used_where_a_component_that_listens_is_frozen(tiny_bert: str, make_examples: Examples) -> None:
    nlp = build_shared(tiny_bert)
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    sgd = adamw(1e-3, use_averages=True)
    for _ in range(2):
        for _ in range(2):
            nlp.update(examples, sgd=sgd, exclude=["clinie_rel"])
        with nlp.use_params(sgd.averages):
            nlp.evaluate(examples)


def test_gradients_of_all_parts_of_a_batch_are_in_its_step(tiny_bert: str, make_examples: Examples) -> None:
    """Nothing of the last part can be learnt."""
    nlp = build_shared(tiny_bert)
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    bare = Example(nlp.make_doc(TEXT), nlp.make_doc(TEXT))
    module, before = modules_of(nlp.get_pipe(ENCODER))[0], weights(nlp)
    with pytest.warns(UserWarning, match="CIE474"):
        steps(nlp, [*examples[:2], bare], adamw(1e-3))
    assert changed(before, weights(nlp)) and all(weight.grad is None for weight in module.parameters())


def test_what_nobody_annotated_is_not_learnt_as_nothing(tiny_bert: str, make_examples: Examples) -> None:
    nlp = build_shared(tiny_bert)
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    before = {name: weights(nlp, name) for name in nlp.pipe_names}
    bare = [Example(nlp.make_doc(one.text), nlp.make_doc(one.text)) for one in examples]
    with pytest.warns(UserWarning, match="CIE474"):
        losses = nlp.update(bare, sgd=adamw(1e-2, weight_decay=0.0))
    assert set(losses.values()) == {0.0}
    assert not any(changed(held, weights(nlp, name)) for name, held in before.items())
    with pytest.warns(UserWarning, match="CIE474"):
        mixed = nlp.update([*examples, *bare], drop=0.0, sgd=False)  # type: ignore[arg-type]
    alone = nlp.update(examples, drop=0.0, sgd=False)  # type: ignore[arg-type]
    assert mixed["clinie_rel"] == pytest.approx(alone["clinie_rel"], rel=1e-4)


def test_the_encoder_may_be_frozen_after_a_component_was(tiny_bert: str, make_examples: Examples) -> None:
    nlp = build_shared(tiny_bert)
    examples, sgd = make_examples(nlp), adamw(1e-3)
    nlp.initialize(lambda: examples)
    nlp.update(examples, sgd=sgd, exclude=["clinie_rel"])
    nlp.get_pipe(ENCODER).predict([])  # type: ignore[attr-defined]
    before = weights(nlp)
    nlp.update(examples[:3], sgd=sgd, exclude=[ENCODER, "clinie_ner_encoder"], annotates=[ENCODER])
    nlp.update(examples, sgd=sgd, exclude=[ENCODER, "clinie_ner_encoder"], annotates=[ENCODER])
    assert not changed(before, weights(nlp))


def test_empty_docs_leave_nothing_behind(tiny_bert: str, make_examples: Examples) -> None:
    nlp = build_shared(tiny_bert)
    examples, sgd = make_examples(nlp), adamw(1e-3)
    nlp.initialize(lambda: examples)
    nlp.update([Example(nlp.make_doc(""), nlp.make_doc(""))], sgd=sgd)
    nlp.update(examples, sgd=sgd, exclude=[ENCODER], annotates=[ENCODER])
