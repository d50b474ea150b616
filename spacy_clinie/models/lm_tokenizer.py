"""What prompts need of a language model, without its weights."""

import functools
from collections.abc import Sequence
from typing import Any

from ..prompts.codec import Codec
from . import pretrained
from .wordpieces import PiecedDoc, make_pieces


class Reader:
    """What prompts need to know of a language model.

    tokenizer (PreTrainedTokenizerFast): Its tokenizer.
    config (PretrainedConfig): Its configuration.
    """

    def __init__(self, tokenizer: Any, config: Any) -> None:
        self.tokenizer = tokenizer
        self.limit: int = getattr(config, "max_position_embeddings", None) or tokenizer.model_max_length

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        pretrained.read_as_text(self.tokenizer)

    @functools.cached_property
    def codec(self) -> Codec:
        """The tokenizer for prompts.

        RAISES (ClinieError): CIE323 and CIE324, see there.
        """
        return Codec(self.tokenizer)

    @classmethod
    def create(cls, name: str) -> "Reader":
        """Load it without the model's weights.

        name (str): See `pretrained.locate`.
        RETURNS (Reader): The reader.
        """
        return cls(pretrained.load_tokenizer(name), pretrained.load_config(name))

    def read_texts(self, docs: Sequence[Any]) -> list[PiecedDoc]:
        """Docs as the model's tokens.

        docs (Sequence[Doc]): The Docs.
        RETURNS (list[PiecedDoc]): One for each.
        """
        return make_pieces(docs, self.tokenizer)
