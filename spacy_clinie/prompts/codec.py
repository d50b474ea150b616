"""Between prompts and token ids, for one model's tokenizer."""

import re
from collections.abc import Sequence
from typing import Any, Optional

from ..errors import ClinieError
from .formats import CLOSE, OPEN, Alphabet
from .template import Part, Prompt, cut_at

# What a text may stand behind.
_BEFORE = (CLOSE, "\n", "a")
# What a control token looks like that is not marked as one.
_CONTROL = re.compile(r"[<\[‹｜|]\S*[>\]›｜|]")
# Some chat templates write the day into the prompt, which must not depend on it: what Llama's write if not told.
_DAY = "26 Jul 2024"


def is_control(token: Any) -> bool:
    """Whether a token that was added to a vocabulary is a control token. Not all of them are marked as such.

    token (AddedToken): The token.
    RETURNS (bool): True for such, and for those that look like `<think>`, `<｜User｜>` or `[INST]`.
    """
    return token.special or bool(_CONTROL.fullmatch(str(token)))


class Codec:
    """Writes prompts as token ids. Only a template's own control tokens become such; everything else is text.

    tokenizer (PreTrainedTokenizerFast): The model's tokenizer, which reads control tokens in a text as text.
    RAISES (ClinieError): CIE323 if the marks of our formats are not single ids, CIE324 if nothing ends an answer.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self._last: Optional[tuple[Prompt, tuple[list[int], list[int]]]] = None
        added = tokenizer.added_tokens_decoder.values()
        self.controls = frozenset({str(one) for one in added if is_control(one)} | set(tokenizer.all_special_tokens))
        self._chat = bool(tokenizer.chat_template)
        encoded = tokenizer.backend_tokenizer.encode("a")
        leading = 0
        while leading < len(encoded.ids) and encoded.special_tokens_mask[leading]:
            leading += 1
        # What the model wants before every text; a chat template brings its own.
        self._begin = [] if self._chat else encoded.ids[:leading]
        marks = [self.text(mark, within=True) for mark in (OPEN, CLOSE, "\n")]
        if any(len(ids) != 1 for ids in marks):
            raise ClinieError("CIE323")
        self.alphabet = Alphabet(marks[0][0], marks[1][0], marks[2][0], self._end())

    def text(self, text: str, within: bool = False) -> list[int]:
        """A text as ids.

        text (str): Any text.
        within (bool): As it is written behind other text, where some tokenizers put no blank before it.
        RETURNS (list[int]): The ids.
        """
        encode = self.tokenizer.backend_tokenizer.encode
        for before in _BEFORE if within else ():
            begin = encode(before, add_special_tokens=False).ids
            ids = encode(before + text, add_special_tokens=False).ids
            if ids[: len(begin)] == begin:  # otherwise the two have a token in common, and the text would lose its part
                return list(ids[len(begin) :])
        return list(encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Ids as a text.

        ids (Sequence[int]): Ids of the tokenizer; those of control tokens are left out.
        RETURNS (str): The text.
        """
        return str(self.tokenizer.backend_tokenizer.decode(list(ids)))

    def prompt(self, prompt: Prompt) -> tuple[list[int], list[int]]:
        """A prompt as ids, as a turn of a chat where the model knows chats. The last one is remembered.

        prompt (Prompt): The prompt.
        RETURNS (tuple[list[int], list[int]]): Ids before and behind the window.
        RAISES (ClinieError): CIE322 if there is not exactly one window.
        """
        last = self._last  # once: another thread may change it
        if last is not None and last[0] == prompt:
            return last[1]
        form = f"{prompt.form}\n"
        if self._chat:
            turn = [{"role": "user", "content": prompt.form}]
            form = self._turns(turn, add_generation_prompt=True)
        before, behind = prompt._replace(form=form).parts(self.controls)
        ids = [*self._begin, *self._ids(before)], self._ids(behind)
        self._last = prompt, ids
        return ids

    def _turns(self, turns: list[dict[str, str]], **settings: Any) -> str:
        """A chat as text."""
        # transformers 5 takes no functions for templates to call, and a macro goes before its own.
        template = f"{{% macro strftime_now(form) -%}}{_DAY}{{%- endmacro %}}{self.tokenizer.get_chat_template()}"
        settings.update(chat_template=template, date_string=_DAY, tokenize=False)
        return str(self.tokenizer.apply_chat_template(turns, **settings))

    def _ids(self, parts: list[Part]) -> list[int]:
        ids: list[int] = []
        for part in parts:
            ids += [self.tokenizer.convert_tokens_to_ids(part.text)] if part.control else self.text(part.text)
        return ids

    def _end(self) -> int:
        """The id that ends an answer: what a chat template writes behind one, or else what ends every text."""
        if self._chat:
            answer = "\ue002"
            turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": answer}]
            written = self._turns(turns)
            control = cut_at(self.controls).search(written.rpartition(answer)[2])
            if control:
                return int(self.tokenizer.convert_tokens_to_ids(control.group()))
        if self.tokenizer.eos_token_id is None:
            raise ClinieError("CIE324")
        return int(self.tokenizer.eos_token_id)
