"""Both sides of spacy-llm's `llm` component: our tasks for any of its models, our local model for any of its tasks.

Such models take and give text, so answers are free: what they name is looked for in the window, and what it does not
hold is rejected and counted in `doc.user_data["clinie_rejected"]`. Nothing here needs spacy-llm to be installed.
"""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

# spacy-llm looks at the names of these types, and knows only those of `typing`.
from typing import Any, Iterable, Optional, Tuple, Union, cast  # noqa: UP035

import numpy as np
from spacy.tokens import Doc
from spacy.training import Example
from spacy.vocab import Vocab
from thinc.api import Model

from ..doc.concepts import get_all_spans
from ..doc.windows import sentence_starts
from ..models.forks import begin_computing
from ..models.wordpieces import PiecedDoc
from ..prompts.codec import Codec
from ..prompts.concept_prompt import ConceptPrompt, concept_prompt
from ..prompts.examples import Examples
from ..prompts.formats import CLOSE, OPEN, Alphabet, Format
from ..prompts.machines import Ask, Free
from ..prompts.relation_prompt import RelationPrompt, relation_prompt
from ..prompts.template import Prompt, only_the_window
from ..schema import Schema
from ..scoring.scorer import make_scorer
from .answers import Answer, FoundRelation
from .decoder_prompt import DecoderPrompt


class TextCodec(Codec):
    """In the place of a model's tokenizer: words stand for ids."""

    def __init__(self) -> None:
        self.alphabet = cast(Any, Alphabet)(OPEN, CLOSE, "\n", "")

    def text(self, text: str, within: bool = False) -> list[Any]:  # noqa: ARG002
        return [text]

    def decode(self, ids: Sequence[Any]) -> str:
        return "".join(ids)

    def prompt(self, prompt: Prompt) -> tuple[list[Any], list[Any]]:  # noqa: ARG002
        return [], []


class TextReader:
    """In the place of `models.lm_tokenizer.Reader`: a token of the Doc, with the blank before it, stands for an id."""

    codec = TextCodec()
    limit = sys.maxsize

    def read_texts(self, docs: Iterable[Doc]) -> list[PiecedDoc]:
        """Docs by their tokens."""
        return [_by_tokens(doc) for doc in docs]


READER = TextReader()


def _by_tokens(doc: Doc) -> PiecedDoc:
    tokens = np.array([token.i for token in doc if not token.is_space], dtype=np.int64)
    starts = np.array([doc[int(i)].idx for i in tokens], dtype=np.int64)
    ends = starts + np.array([len(doc[int(i)]) for i in tokens], dtype=np.int64)
    begins = np.concatenate([[0], ends[:-1]]) if len(tokens) else ends
    text = doc.text  # which spaCy puts together at every access
    words = np.array([text[begin:end] for begin, end in zip(begins, ends, strict=True)], dtype=object)
    index = np.arange(len(tokens))
    breaks = np.unique(np.searchsorted(tokens, sentence_starts(doc))).tolist()
    return PiecedDoc(words, starts, ends, tokens, index, index + 1, breaks)


class _Task:
    """A task of spacy-llm, with a component that makes the prompts and writes the annotation, and never asks.

    label_schema (Union[str, Path]): Name or file of the schema.
    concepts (Optional[ConceptPrompt]): How concepts are asked for.
    relations (Optional[RelationPrompt]): How relations are asked for.
    examples (Optional[Examples]): What the prompts show.
    RAISES (ClinieError): CIE100 to CIE109 for the schema, CIE327 and CIE460 for the examples.
    """

    def __init__(
        self,
        label_schema: Union[str, Path],
        concepts: Optional[ConceptPrompt],
        relations: Optional[RelationPrompt],
        examples: Optional[Examples],
    ) -> None:
        self._component = DecoderPrompt(
            Vocab(),
            Model("clinie_never_asked", cast(Any, None), attrs={"finds": DecoderPrompt.finds}),
            type(self).__name__,
            concepts=concepts,
            relations=relations,
            examples=examples,
            label_schema=label_schema,
            scorer=None,
        )
        self._component.schema = Schema.load(label_schema)
        self._component.reader = READER
        self._component.settle([])

    @property
    def labels(self) -> Tuple[str, ...]:  # noqa: UP006
        """The types that are looked for."""
        schema = cast(Schema, self._component.schema)
        return tuple(schema.concepts if self._component.concepts else schema.relations)

    def scorer(self, examples: Iterable[Example]) -> dict[str, Any]:
        """Score examples as our components do."""
        return make_scorer()(examples)

    def generate_prompts(
        self,
        docs: Iterable[Doc],
        context_length: Optional[int] = None,  # noqa: ARG002
    ) -> Iterable[Tuple[Iterable[Any], Iterable[Doc]]]:  # noqa: UP006
        """Make the prompts.

        docs (Iterable[Doc]): The Docs.
        context_length (Optional[int]): Not used: `window` says how much of a note a prompt holds.
        YIELDS (Tuple[Iterable[Any], Iterable[Doc]]): Prompts, and the Doc once for each; no prompt and the Doc once
            where there is nothing to ask.
        """
        for doc in docs:
            prompts = [asked.prompt for asked in self._asked(doc)]
            yield prompts, [doc] * max(len(prompts), 1)

    def parse_responses(self, shards: Iterable[Iterable[Doc]], responses: Iterable[Iterable[Any]]) -> Iterable[Doc]:
        """Write what was answered to the Docs.

        shards (Iterable[Iterable[Doc]]): As `generate_prompts` gave them.
        responses (Iterable[Iterable[Any]]): The answer to each prompt.
        YIELDS (Doc): The Docs.
        """
        for own, answers in zip(shards, responses, strict=True):
            doc = next(iter(own))
            self._component.set_annotations([doc], [self._read(doc, [str(answer) for answer in answers])])
            yield doc

    def _asked(self, doc: Doc) -> list[Any]:
        raise NotImplementedError

    def _read(self, doc: Doc, answers: list[str]) -> Answer:
        raise NotImplementedError


class ConceptTask(_Task):
    """Concepts, for an `llm` component. Registered as `spacy_clinie.Concepts.v1`.

    label_schema (Union[str, Path]): Name or file of the schema.
    format (Optional[Format]): How answers are written; None for `InlineMarks`.
    each (bool): Whether every concept type has a question of its own.
    template (Optional[str]): A bundled template, or a file of one's own; None for the one that suits `each`.
    window (int): Tokens of a window, as spaCy counts them.
    overlap (int): Tokens that two windows share where a cut falls inside a sentence.
    examples (Optional[Examples]): What the prompts show, from a file.
    RAISES (ClinieError): CIE100 to CIE109 for the schema, CIE327 and CIE460 for the examples.
    """

    def __init__(
        self,
        *,
        label_schema: Union[str, Path],
        format: Optional[Format] = None,
        each: bool = False,
        template: Optional[str] = None,
        window: int = 192,
        overlap: int = 32,
        examples: Optional[Examples] = None,
    ) -> None:
        task = concept_prompt(
            format=format, each=each, template=template, window=window, overlap=overlap, grounded=False
        )
        super().__init__(label_schema, task, None, examples)

    def _asked(self, doc: Doc) -> list[Any]:
        return self._component.concepts_asked([doc], READER.read_texts([doc]))

    def _read(self, doc: Doc, answers: list[str]) -> Answer:
        [found], [rejected] = self._component.read_concepts(
            [doc], READER.read_texts([doc]), self._asked(doc), [_heard(answer) for answer in answers]
        )
        # Such models do not tell how sure they are.
        return Answer([one._replace(score=None) for one in found], [], rejected)


class RelationTask(_Task):
    """Relations between the concepts that a Doc carries, for an `llm` component behind the one that finds these.
    Registered as `spacy_clinie.Relations.v1`.

    label_schema (Union[str, Path]): Name or file of the schema.
    each (bool): Whether every head and relation type have a question of their own.
    template (Optional[str]): A bundled template, or a file of one's own; None for the one that suits `each`.
    window (int): Tokens of a window, as spaCy counts them, without the marks.
    max_distance (Optional[int]): How many sentences apart head and tail may be; None for anywhere in the note.
    examples (Optional[Examples]): What the prompts show, from a file.
    RAISES (ClinieError): CIE100 to CIE109 for the schema, CIE327 and CIE460 for the examples.
    """

    def __init__(
        self,
        *,
        label_schema: Union[str, Path],
        each: bool = False,
        template: Optional[str] = None,
        window: int = 256,
        max_distance: Optional[int] = 1,
        examples: Optional[Examples] = None,
    ) -> None:
        task = relation_prompt(each=each, template=template, window=window, max_distance=max_distance)
        super().__init__(label_schema, None, task, examples)

    def _asked(self, doc: Doc) -> list[Any]:
        return self._component.relations_asked([doc], READER.read_texts([doc]), [get_all_spans(doc)])

    def _read(self, doc: Doc, answers: list[str]) -> Answer:
        names = list(self._component.schema_of(doc).relations)
        keys = [(span.start, span.end, span.label_) for span in get_all_spans(doc)]
        found: dict[FoundRelation, None] = {}
        rejected: Counter[str] = Counter()
        for one, answer in zip(self._asked(doc), answers, strict=True):
            options = {_bare("".join(map(str, option))): i for i, option in enumerate(one.options)}
            for line in filter(None, (_bare(line) for line in answer.splitlines())):
                if line in options:
                    head, tail, kind = one.triples[options[line]]
                    found[FoundRelation(keys[head], keys[tail], names[kind], None)] = None
                else:
                    rejected["relation"] += 1
        return Answer([], list(found), rejected)


def _bare(line: str) -> str:
    """A line of a list without the signs that chat models like to put around it."""
    return " ".join(line.strip(" \t-*•.,;").split())


def _heard(answer: str) -> Any:
    machine: Any = Free(1, 0)
    machine.found, machine.done = [answer], True
    return machine


class LocalModel:
    """A causal language model on this machine, for any task of an `llm` component: prompts of many Docs are answered in
    batches. Registered as `spacy_clinie.CausalLM.v1` among spacy-llm's models.

    base (str): A folder, a model of the hub, `smollm2`, or `package:folder`.
    adapter (Optional[str]): A folder of adapters.
    max_new_tokens (Optional[int]): Tokens after which an answer is cut; None for 512 or twice those of the prompt,
        whichever is more: what copies a window with marks may be longer than that.
    batch_pieces (int): A quarter of the padded tokens in one pass; bounds memory.
    device (str): `auto` or a torch device.
    precision (str): `auto`, `fp32` or `bf16`.
    RAISES (ClinieError): CIE302, CIE303 and the like if the model cannot be loaded.
    """

    def __init__(
        self,
        *,
        base: str = "smollm2",
        adapter: Optional[str] = None,
        max_new_tokens: Optional[int] = None,
        batch_pieces: int = 1024,
        device: str = "auto",
        precision: str = "auto",
    ) -> None:
        from ..models.causal import CausalModule

        begin_computing()
        options = {"base": base, "adapter": adapter, "guess": 0, "batch_pieces": batch_pieces}
        options |= {"four_bit": False, "checkpoint": False}
        self._module = CausalModule.create({**options, "device": device, "precision": precision})
        self._most = max_new_tokens

    @property
    def context_length(self) -> int:
        """How many tokens the model reads."""
        return self._module.reader.limit

    def __call__(self, prompts: Iterable[Iterable[Any]]) -> Iterable[Iterable[Any]]:
        """Answer prompts. What looks like a control token in them is read as text.

        prompts (Iterable[Iterable[Any]]): Prompts for each Doc.
        RETURNS (Iterable[Iterable[Any]]): Answers to them.
        """
        begin_computing()
        codec = self._module.reader.codec
        before, behind = codec.prompt(only_the_window())
        groups = [[str(prompt) for prompt in own] for own in prompts]
        asks = [Ask(tuple(before), [*codec.text(prompt), *behind]) for own in groups for prompt in own]
        machines = [Free(self._most or max(512, 2 * len(ask.rest)), codec.alphabet.end) for ask in asks]
        self._module.answer(asks, machines)
        answers = iter([codec.decode(machine.found) for machine in machines])
        return [[next(answers) for _ in own] for own in groups]
