"""Models of a real shape with random weights, for what needs no trained ones: cost, and a study that only smokes."""

import string
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..models.pretrained import weights_in

_SPECIALS = {"encoder": ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"], "decoder": ["<|pad|>", "<|start|>", "<|end|>"]}


def write_random_model(folder: Path, kind: str, shape: Mapping[str, Any], texts: Iterable[str], seed: int = 0) -> str:
    """Write a model with random weights, and a tokenizer that is trained on some texts.

    folder (Path): Where to; what is there already is kept as it is.
    kind (str): `encoder` or `decoder`.
    shape (Mapping[str, Any]): Arguments of `AutoConfig.for_model`. The vocabulary may be larger than the tokenizer's.
    texts (Iterable[str]): Texts.
    seed (int): Of the weights.
    RETURNS (str): The folder, as the architectures take it.
    """
    import torch
    import transformers

    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder.parent) as name:
            temporary = Path(name) / "model"
            size = min(4000, shape["vocab_size"])
            tokenizer = _word_pieces(texts, size) if kind == "encoder" else _byte_pairs(texts, size)
            tokenizer.save_pretrained(temporary)
            config = transformers.AutoConfig.for_model(**shape, pad_token_id=0, bos_token_id=1, eos_token_id=2)
            torch.manual_seed(seed)
            maker: Any = transformers.AutoModel if kind == "encoder" else transformers.AutoModelForCausalLM
            # Half of the disk; models of billions of weights are written here.
            maker.from_config(config, **weights_in(torch.bfloat16)).save_pretrained(temporary)
            temporary.rename(folder)
    return str(folder)


def _word_pieces(texts: Iterable[str], size: int) -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    specials = _SPECIALS["encoder"]
    pad, start, end, unknown, mask = specials
    tokenizer = Tokenizer(models.WordPiece(unk_token=unknown))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    alphabet = list(string.printable)
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}", pair=f"{start} $A {end} $B:1 {end}:1", special_tokens=[(start, 1), (end, 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=pad, cls_token=start, sep_token=end, unk_token=unknown, mask_token=mask
    )


def _byte_pairs(texts: Iterable[str], size: int) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    specials = _SPECIALS["decoder"]
    pad, start, end = specials
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
    )
    # The marks of our answers have to be tokens.
    tokenizer.train_from_iterator([*texts, *["«", "»"] * 9], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=pad, bos_token=start, eos_token=end)
