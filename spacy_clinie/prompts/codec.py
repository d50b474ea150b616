"""Prompts as token ids, for the tokenizer of one model."""

import re
from collections.abc import Sequence
from typing import Any, Optional

from ..errors import ClinieError
from .formats import CLOSE, OPEN, MarkIds
from .template import Part, Prompt, split_pattern

# Texts to encode another text after, in the order in which they are tried.
_TEXT_BEFORE = (CLOSE, "\n", "a")
# What a control token looks like if the tokenizer does not mark it as one.
_CONTROL = re.compile(r"[<\[‹｜|]\S*[>\]›｜|]")
# Some chat templates write the current date. Prompts must not depend on it, so they get the date that Llama's templates
# have as a default.
_DATE = "26 Jul 2024"


def is_control(token: Any) -> bool:
    """Whether an added token of a vocabulary is a control token. Not all of them are marked as such.

    token (AddedToken): The token.
    RETURNS (bool): True if it is marked as special, or looks like `<think>`, `<｜User｜>` or `[INST]`.
    """
    return token.special or bool(_CONTROL.fullmatch(str(token)))


class Codec:
    """Encodes prompts and answers. Only the control tokens of the template itself become control tokens; everything
    else is encoded as text.

    tokenizer (PreTrainedTokenizerFast): The model's tokenizer, see `pretrained.read_as_text`.
    RAISES (ClinieError): CIE323 if a mark of our formats is not a single token, CIE324 if no token ends an answer.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self._last: Optional[tuple[Prompt, tuple[list[int], list[int]]]] = None
        added = tokenizer.added_tokens_decoder.values()
        self.controls = frozenset({str(one) for one in added if is_control(one)} | set(tokenizer.all_special_tokens))
        self._has_chat = bool(tokenizer.chat_template)
        encoded = tokenizer.backend_tokenizer.encode("a")
        leading = 0
        while leading < len(encoded.ids) and encoded.special_tokens_mask[leading]:
            leading += 1
        # Special tokens at the start of every text. A chat template writes its own.
        self._start = [] if self._has_chat else encoded.ids[:leading]
        marks = [self.encode(mark, after_text=True) for mark in (OPEN, CLOSE, "\n")]
        if any(len(ids) != 1 for ids in marks):
            raise ClinieError("CIE323")
        self.marks = MarkIds(marks[0][0], marks[1][0], marks[2][0], self._find_end())

    def encode(self, text: str, after_text: bool = False) -> list[int]:
        """Encode a text.

        text (str): Any text.
        after_text (bool): Encode it as it stands after other text. Some tokenizers put a blank before a text that
            stands alone.
        RETURNS (list[int]): The ids.
        """
        encode = self.tokenizer.backend_tokenizer.encode
        for before in _TEXT_BEFORE if after_text else ():
            start = encode(before, add_special_tokens=False).ids
            ids = encode(before + text, add_special_tokens=False).ids
            if ids[: len(start)] == start:  # otherwise a token spans both texts, and cannot be split
                return list(ids[len(start) :])
        return list(encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Decode ids, without control tokens.

        ids (Sequence[int]): Ids of the tokenizer.
        RETURNS (str): The text.
        """
        return str(self.tokenizer.backend_tokenizer.decode(list(ids)))

    def encode_prompt(self, prompt: Prompt) -> tuple[list[int], list[int]]:
        """Encode a prompt, as a user message if the model has a chat template. The last result is cached.

        prompt (Prompt): The prompt.
        RETURNS (tuple[list[int], list[int]]): Ids before and after the window.
        RAISES (ClinieError): CIE322 if the template does not use the window exactly once.
        """
        last = self._last  # read once: another thread may change it
        if last is not None and last[0] == prompt:
            return last[1]
        rendered = f"{prompt.rendered}\n"
        if self._has_chat:
            rendered = self._apply_chat([{"role": "user", "content": prompt.rendered}], add_generation_prompt=True)
        before, after = prompt._replace(rendered=rendered).parts(self.controls)
        ids = [*self._start, *self._encode_parts(before)], self._encode_parts(after)
        self._last = prompt, ids
        return ids

    def _apply_chat(self, messages: list[dict[str, str]], **settings: Any) -> str:
        """Write a chat as text."""
        # transformers 5 passes no functions to templates, so a macro takes the place of this one.
        template = f"{{% macro strftime_now(form) -%}}{_DATE}{{%- endmacro %}}{self.tokenizer.get_chat_template()}"
        settings.update(chat_template=template, date_string=_DATE, tokenize=False)
        return str(self.tokenizer.apply_chat_template(messages, **settings))

    def _encode_parts(self, parts: list[Part]) -> list[int]:
        ids: list[int] = []
        for part in parts:
            ids += [self.tokenizer.convert_tokens_to_ids(part.text)] if part.control else self.encode(part.text)
        return ids

    def _find_end(self) -> int:
        """The id that ends an answer: the control token that the chat template writes after one, or else that which
        ends every text."""
        if self._has_chat:
            answer = "\ue002"
            written = self._apply_chat([{"role": "user", "content": "a"}, {"role": "assistant", "content": answer}])
            control = split_pattern(self.controls).search(written.rpartition(answer)[2])
            if control:
                return int(self.tokenizer.convert_tokens_to_ids(control.group()))
        if self.tokenizer.eos_token_id is None:
            raise ClinieError("CIE324")
        return int(self.tokenizer.eos_token_id)
