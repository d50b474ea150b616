"""Prompts and answers as token ids of one model."""

from pathlib import Path

from spacy_clinie.models.pretrained import load_tokenizer
from spacy_clinie.prompts.codec import Codec
from spacy_clinie.prompts.concept_prompt import concept_prompt
from spacy_clinie.schema import Schema
from tests.tiny import make_decoder


def test_a_prompt_is_encoded_but_for_the_window(codec: Codec) -> None:
    schema = Schema.load("phee")
    prompt = concept_prompt().render(schema, ["Drug", "ADE"], [])
    prefix, suffix = codec.encode_prompt(prompt)
    text = codec.tokenizer.backend_tokenizer.decode(prefix, skip_special_tokens=False)
    assert schema.concepts["ADE"].description in text
    assert schema.concepts["Route"].description not in text
    assert text.endswith("Text:\n")
    end = codec.tokenizer.backend_tokenizer.decode(suffix, skip_special_tokens=False)
    assert "Text" not in end
    assert end.startswith("\nAnswer:<|im_end|>" if codec.tokenizer.chat_template else "\nAnswer:\n")


def test_an_answer_ends_with_the_token_of_the_chat_template(codec: Codec) -> None:
    end = codec.tokenizer.convert_ids_to_tokens(codec.marks.end)
    assert end == ("<|im_end|>" if codec.tokenizer.chat_template else "<|endoftext|>")


def test_a_name_is_encoded_apart_from_the_text_before_it(codec: Codec) -> None:
    backend = codec.tokenizer.backend_tokenizer
    tokens = [token for token in backend.get_vocab() if token.startswith("a") and token.isalpha() and len(token) > 1]
    assert tokens  # their ends are names that would share a token with an "a" before them
    for name in [*(token[1:] for token in tokens), "problem", "test", "t", "1", " CAUSE 2", "\n", "Dose-Unit"]:
        assert codec.decode(codec.encode(name, after_text=True)) == name


def test_a_prompt_does_not_depend_on_the_date(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(make_decoder(tmp_path, chat=True))
    tokenizer.chat_template = "{{ date_string }} {{ strftime_now('%d %b %Y') }}" + tokenizer.chat_template
    prefix, _ = Codec(tokenizer).encode_prompt(concept_prompt().render(Schema.load("phee"), ["Drug", "ADE"], []))
    assert tokenizer.backend_tokenizer.decode(prefix).startswith("26 Jul 2024 26 Jul 2024")


def test_unmarked_control_tokens_are_encoded_as_text(tiny_decoder: str) -> None:
    """Such as `<think>` and `<tool_call>` in vocabularies of Qwen."""
    from tokenizers import AddedToken
    from transformers import AutoTokenizer

    from spacy_clinie.models.pretrained import read_as_text

    names = ["<think>", "<\uff5cUser\uff5c>", "[INST]"]
    tokenizer = AutoTokenizer.from_pretrained(tiny_decoder)
    tokenizer.add_tokens([AddedToken(name, special=False) for name in [*names, "aspirin"]])
    ids = dict(zip([*names, "aspirin"], tokenizer.convert_tokens_to_ids([*names, "aspirin"]), strict=True))
    read_as_text(tokenizer)
    for name in names:
        assert ids[name] not in tokenizer.backend_tokenizer.encode(f"took {name} today").ids
    assert ids["aspirin"] in tokenizer.backend_tokenizer.encode("took aspirin today").ids
    assert set(names) <= Codec(tokenizer).controls
