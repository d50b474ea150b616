"""Tiny random models of the architectures that users bring, made on the spot: no hub, no downloads."""

import string
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

ARCHITECTURES = ("bert", "megatron-bert", "roberta", "deberta-v2", "modernbert", "longformer")
_BYTE_LEVEL = ("roberta", "modernbert", "longformer")
DECODERS = ("llama", "gpt2", "mistral", "qwen3", "gemma")
_CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_SPECIALS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]
_TEXTS = [
    "took aspirin ibuprofen morphine for pain headache fever and cough daily 81 mg 25mg po bid",
    "then developed rash nausea after the drug was given twice",
    # Questions must differ by whole words, or a model of this size cannot tell them apart.
    *["Which mentions of drug strength reason ADE order are there?"] * 3,
]


def make_encoder(folder: Path, kind: str = "bert", dropout: float = 0.0) -> str:
    """Write a random encoder with its tokenizer.

    folder (Path): Where to.
    kind (str): One of `ARCHITECTURES`.
    dropout (float): Rate of the dropouts that its config has.
    RETURNS (str): The folder, as a setting of our models takes it.
    """
    tokenizer = _byte_level() if kind in _BYTE_LEVEL else _word_piece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        unk_token="[UNK]",
        mask_token="[MASK]",
    )
    more = {
        "longformer": {"attention_window": 8},
        "modernbert": {
            "global_attn_every_n_layers": 2,
            **dict.fromkeys(("attention_dropout", "embedding_dropout", "mlp_dropout"), dropout),
        },
    }.get(kind, {})
    config = transformers.AutoConfig.for_model(
        kind,
        vocab_size=len(fast),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=130,
        type_vocab_size=2,
        pad_token_id=0,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        **more,
    )
    torch.manual_seed(0)
    transformers.AutoModel.from_config(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return str(folder)


def make_decoder(folder: Path, kind: str = "llama", chat: bool = True, layers: int = 2) -> str:
    """Write a random causal language model with its tokenizer.

    folder (Path): Where to.
    kind (str): One of `DECODERS`.
    chat (bool): Whether it has a chat template.
    layers (int): How many layers.
    RETURNS (str): The folder, as a setting of our models takes it.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=specials, initial_alphabet=alphabet)
    tokenizer.train_from_iterator([*_TEXTS, *["«", "»"] * 9], trainer)
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>" if chat else "<|endoftext|>", bos_token="<|im_start|>"
    )
    fast.chat_template = _CHAT if chat else None
    more: dict[str, Any] = {"num_key_value_heads": 1, "head_dim": 16}
    if kind == "gpt2":
        more = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    if kind == "llama":
        more["rope_scaling"] = {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        }
    config = transformers.AutoConfig.for_model(
        kind,
        vocab_size=len(fast),
        hidden_size=32,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=4096,
        bos_token_id=1,
        eos_token_id=2 if chat else 0,
        pad_token_id=0,
        initializer_range=0.3,
        **more,
    )
    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return str(folder)


def _word_piece() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=400, special_tokens=_SPECIALS, initial_alphabet=list(string.ascii_letters + string.digits)
    )
    tokenizer.train_from_iterator(_TEXTS, trainer)
    return tokenizer


def _byte_level() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=_SPECIALS, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(_TEXTS, trainer)
    return tokenizer


# Their attention is local or relative to the place in the sequence.
NO_GUESTS = ("deberta-v2", "modernbert", "longformer")
