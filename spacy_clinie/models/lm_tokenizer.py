"""The tokenizer of a language model, for making prompts without its weights."""

import functools
from collections.abc import Sequence
from typing import Any

from ..prompts.codec import Codec
from . import pretrained
from .wordpieces import PiecedDoc, make_pieces


class LMTokenizer:
    """What prompts need from a language model.

    tokenizer (PreTrainedTokenizerFast): Its tokenizer.
    config (PretrainedConfig): Its configuration.
    """

    def __init__(self, tokenizer: Any, config: Any) -> None:
        self.tokenizer = tokenizer
        # Tokens of prompt and answer together.
        self.context_length: int = getattr(config, "max_position_embeddings", None) or tokenizer.model_max_length

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        pretrained.read_as_text(self.tokenizer)

    @functools.cached_property
    def codec(self) -> Codec:
        """Encodes prompts.

        RAISES (ClinieError): CIE323 or CIE324, see `Codec`.
        """
        return Codec(self.tokenizer)

    @classmethod
    def load(cls, name: str) -> "LMTokenizer":
        """Load it without the model's weights.

        name (str): See `pretrained.locate`.
        RETURNS (LMTokenizer): The tokenizer.
        """
        return cls(pretrained.load_tokenizer(name), pretrained.load_config(name))

    def tokenize(self, docs: Sequence[Any]) -> list[PiecedDoc]:
        """Split Docs into the model's tokens.

        docs (Sequence[Doc]): The Docs.
        RETURNS (list[PiecedDoc]): One for each.
        """
        return make_pieces(docs, self.tokenizer)
