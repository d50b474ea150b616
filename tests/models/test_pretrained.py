"""What base models, adapters and their settings are refused for."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import transformers

from spacy_clinie.errors import ClinieError
from spacy_clinie.models.adapters import add_adapter
from spacy_clinie.models.pretrained import load_encoder, load_tokenizer


@pytest.mark.parametrize("load", [load_encoder, load_tokenizer])
def test_a_folder_without_a_model_is_named(load: Any, tmp_path: Path) -> None:
    with pytest.raises(ClinieError, match="CIE303") as error:
        load(str(tmp_path))
    assert str(tmp_path) in str(error.value)


def test_a_tokenizer_without_offsets_is_refused(
    tiny_bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\npain\n", encoding="utf8")
    slow = transformers.BertTokenizer(str(tmp_path / "vocab.txt"))
    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", lambda *_, **__: slow)
    with pytest.raises(ClinieError, match="CIE304"):
        load_tokenizer(tiny_bert)


@pytest.mark.parametrize(
    "settings", [{"rank": 8}, {"peft_type": "NO_SUCH"}, {"r": 0}, {"r": 4, "target_modules": ["no_such_layer"]}]
)
def test_lora_settings_that_peft_refuses_are_passed_on(settings: dict[str, Any], tiny_bert: str) -> None:
    with pytest.raises(ClinieError, match="CIE305"):
        add_adapter(load_encoder(tiny_bert), settings)


def test_a_damaged_model_is_named(tiny_bert: str, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(tiny_bert, folder)
    (folder / "config.json").write_text('{"model_type": "no-such-model"}', encoding="utf8")
    with pytest.raises(ClinieError, match="CIE303"):
        load_encoder(str(folder))


@pytest.mark.parametrize(
    ("words", "read"),
    [
        (("Pain", "pain", "Hives", "MRI"), ["Hives", "pain"]),
        (("pain", "hives", "mri", "tablet"), ["hives", "pain"]),
        # One word of a control token's kind makes no vocabulary with capitals.
        ((*(f"word{i}" for i in range(30)), "hives", "pain", "[DATE]"), ["hives", "pain"]),
    ],
)
def test_a_vocabulary_with_capitals_is_read_with_them(words: tuple[str, ...], read: list[str], tmp_path: Path) -> None:
    """As ClinicalBERT comes: a vocabulary, and no word on capitals."""
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]))
    tokenizer = load_tokenizer(str(tmp_path))
    assert tokenizer.tokenize("Hives pain") == read
    tokenizer.save_pretrained(tmp_path / "saved")
    assert load_tokenizer(str(tmp_path / "saved")).tokenize("Hives pain") == read
