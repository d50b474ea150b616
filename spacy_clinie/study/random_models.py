"""Models of a real shape with random weights, to measure costs and to try a study out."""

import string
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..models.pretrained import weights_in

_SPECIAL_TOKENS = {
    "encoder": {
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "unk_token": "[UNK]",
        "mask_token": "[MASK]",
    },
    "decoder": {"pad_token": "<|pad|>", "bos_token": "<|start|>", "eos_token": "<|end|>"},
}


def write_random_model(folder: Path, kind: str, shape: Mapping[str, Any], texts: Iterable[str], seed: int = 0) -> str:
    """Write a model with random weights and a tokenizer trained on texts, unless the folder exists.

    folder (Path): Folder of the model.
    kind (str): `encoder` or `decoder`.
    shape (Mapping[str, Any]): Arguments of `AutoConfig.for_model`. Its vocabulary may be larger than the tokenizer's.
    texts (Iterable[str]): Texts.
    seed (int): Seed of the weights.
    RETURNS (str): The folder, as a setting of the architectures.
    """
    import torch
    import transformers

    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder.parent) as name:
            temporary = Path(name) / "model"
            _train_tokenizer(kind, texts, min(4000, shape["vocab_size"])).save_pretrained(temporary)
            config = transformers.AutoConfig.for_model(**shape, pad_token_id=0, bos_token_id=1, eos_token_id=2)
            torch.manual_seed(seed)
            maker: Any = transformers.AutoModel if kind == "encoder" else transformers.AutoModelForCausalLM
            # Models with billions of weights are written here, and bfloat16 halves their size.
            maker.from_config(config, **weights_in(torch.bfloat16)).save_pretrained(temporary)
            temporary.rename(folder)
    return str(folder)


def _train_tokenizer(kind: str, texts: Iterable[str], size: int) -> Any:
    """Word pieces for encoders, byte pairs for decoders."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = _SPECIAL_TOKENS[kind]
    options: Any = {"vocab_size": size, "special_tokens": list(special.values()), "show_progress": False}
    if kind == "encoder":
        tokenizer = Tokenizer(models.WordPiece(unk_token=special["unk_token"]))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.post_processor = processors.BertProcessing((special["sep_token"], 2), (special["cls_token"], 1))
        trainer: Any = trainers.WordPieceTrainer(initial_alphabet=list(string.printable), **options)
    else:
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), **options)
        # The marks of the answer formats have to become tokens.
        texts = [*texts, *["«", "»"] * 9]
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)
