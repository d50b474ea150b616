"""Tasks and a model for spacy-llm's `llm` component: our tasks run with any of its models, our model with any of its
tasks.

Models of spacy-llm read and write text, so answers are not constrained. Mentions that the window does not contain are
rejected and counted in `doc.user_data["clinie_rejected"]`. Nothing here requires spacy-llm to be installed.
"""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

# spacy-llm compares the names of these types, and knows only those of `typing`.
from typing import Any, Iterable, Optional, Tuple, Union, cast  # noqa: UP035

import numpy as np
from spacy.tokens import Doc
from spacy.training import Example
from spacy.vocab import Vocab
from thinc.api import Model

from ..doc.concepts import get_all_spans
from ..doc.windows import sentence_starts
from ..models.architectures import BATCH_PIECES
from ..models.forks import begin_computing
from ..models.wordpieces import PiecedDoc
from ..prompts.codec import Codec
from ..prompts.concept_prompt import ConceptPrompt, concept_prompt
from ..prompts.constraints import PromptIds, Unconstrained
from ..prompts.examples import Examples
from ..prompts.formats import CLOSE, OPEN, Format, MarkIds
from ..prompts.relation_prompt import RelationPrompt, relation_prompt
from ..prompts.template import Prompt, window_only
from ..schema import Schema
from ..scoring.scorer import make_scorer
from .answers import Answer, FoundRelation
from .decoder_prompt import DecoderPrompt


class TextCodec(Codec):
    """A codec without a tokenizer: its ids are strings."""

    def __init__(self) -> None:
        self.marks = cast(Any, MarkIds)(OPEN, CLOSE, "\n", "")

    def encode(self, text: str, after_text: bool = False) -> list[Any]:  # noqa: ARG002
        return [text]

    def decode(self, ids: Sequence[Any]) -> str:
        return "".join(ids)

    def encode_prompt(self, prompt: Prompt) -> tuple[list[Any], list[Any]]:  # noqa: ARG002
        return [], []


class DocTokenizer:
    """Replaces `models.lm_tokenizer.LMTokenizer`. The ids are the tokens of the Doc, each with the blank before it."""

    codec = TextCodec()
    context_length = sys.maxsize

    def tokenize(self, docs: Iterable[Doc]) -> list[PiecedDoc]:
        """Docs as their own tokens."""
        return [_tokenize(doc) for doc in docs]


DOC_TOKENIZER = DocTokenizer()


def _tokenize(doc: Doc) -> PiecedDoc:
    tokens = np.array([token.i for token in doc if not token.is_space], dtype=np.int64)
    starts = np.array([doc[int(i)].idx for i in tokens], dtype=np.int64)
    ends = starts + np.array([len(doc[int(i)]) for i in tokens], dtype=np.int64)
    begins = np.concatenate([[0], ends[:-1]]) if len(tokens) else ends
    text = doc.text  # spaCy joins it anew at every access
    words = np.array([text[begin:end] for begin, end in zip(begins, ends, strict=True)], dtype=object)
    index = np.arange(len(tokens))
    breaks = np.unique(np.searchsorted(tokens, sentence_starts(doc))).tolist()
    return PiecedDoc(words, starts, ends, tokens, index, index + 1, breaks)


class _Task:
    """A task of spacy-llm. It uses a `DecoderPrompt` without a model to make prompts and to write annotations.

    label_schema (Union[str, Path]): Name or file of the schema.
    concepts (Optional[ConceptPrompt]): How concepts are asked for.
    relations (Optional[RelationPrompt]): How relations are asked for.
    examples (Optional[Examples]): Examples that the prompts show.
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
            Model("clinie_no_model", cast(Any, None), attrs={"finds": DecoderPrompt.finds}),
            type(self).__name__,
            concepts=concepts,
            relations=relations,
            examples=examples,
            label_schema=label_schema,
            scorer=None,
        )
        self._component.schema = Schema.load(label_schema)
        self._component.lm_tokenizer = DOC_TOKENIZER
        self._component.initialize_labels([])

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
        context_length (Optional[int]): Not used: `window` limits the text of a prompt.
        YIELDS (Tuple[Iterable[Any], Iterable[Doc]]): Prompts, and the Doc once for each; if there is nothing to ask, no
            prompt and the Doc once.
        """
        for doc in docs:
            prompts = [query.prompt_text for query in self._queries(doc)]
            yield prompts, [doc] * max(len(prompts), 1)

    def parse_responses(self, shards: Iterable[Iterable[Doc]], responses: Iterable[Iterable[Any]]) -> Iterable[Doc]:
        """Write the answers to the Docs.

        shards (Iterable[Iterable[Doc]]): The Docs, as `generate_prompts` yielded them.
        responses (Iterable[Iterable[Any]]): The answer to each prompt.
        YIELDS (Doc): The Docs.
        """
        for own, answers in zip(shards, responses, strict=True):
            doc = next(iter(own))
            self._component.set_annotations([doc], [self._read_answers(doc, [str(answer) for answer in answers])])
            yield doc

    def _queries(self, doc: Doc) -> list[Any]:
        raise NotImplementedError

    def _read_answers(self, doc: Doc, answers: list[str]) -> Answer:
        raise NotImplementedError


class ConceptTask(_Task):
    """Concepts, for an `llm` component. Registered as `spacy_clinie.Concepts.v1`.

    label_schema (Union[str, Path]): Name or file of the schema.
    format (Optional[Format]): The answer format; None for `InlineMarks`.
    per_type (bool): Ask one question for each concept type, and not one for all.
    template (Optional[str]): A bundled template, or the path of a custom one; None for the default, see
        `prompts.concept_prompt.concept_prompt`.
    window (int): Tokens of a window, as spaCy counts them.
    overlap (int): Tokens that two windows share if one ends inside a sentence.
    examples (Optional[Examples]): Examples that the prompts show, from a file.
    RAISES (ClinieError): CIE100 to CIE109 for the schema, CIE327 and CIE460 for the examples.
    """

    def __init__(
        self,
        *,
        label_schema: Union[str, Path],
        format: Optional[Format] = None,
        per_type: bool = False,
        template: Optional[str] = None,
        window: int = 192,
        overlap: int = 32,
        examples: Optional[Examples] = None,
    ) -> None:
        task = concept_prompt(
            format=format, per_type=per_type, template=template, window=window, overlap=overlap, grounded=False
        )
        super().__init__(label_schema, task, None, examples)

    def _queries(self, doc: Doc) -> list[Any]:
        return self._component.concept_queries([doc], DOC_TOKENIZER.tokenize([doc]))

    def _read_answers(self, doc: Doc, answers: list[str]) -> Answer:
        [found], [rejected] = self._component.read_concepts(
            [doc], DOC_TOKENIZER.tokenize([doc]), self._queries(doc), [_as_constraint(answer) for answer in answers]
        )
        # Text comes without probabilities.
        return Answer([one._replace(score=None) for one in found], [], rejected)


class RelationTask(_Task):
    """Relations between the concepts of a Doc, for an `llm` component that comes after the one for concepts. Registered
    as `spacy_clinie.Relations.v1`.

    label_schema (Union[str, Path]): Name or file of the schema.
    per_type (bool): Ask one question for each head and relation type, and not one for all.
    template (Optional[str]): A bundled template, or the path of a custom one; None for the default, see
        `prompts.relation_prompt.relation_prompt`.
    window (int): Tokens of a window, as spaCy counts them, without the marks.
    max_distance (Optional[int]): Most sentences from head to tail: 0 for the same sentence, None for no limit.
    examples (Optional[Examples]): Examples that the prompts show, from a file.
    RAISES (ClinieError): CIE100 to CIE109 for the schema, CIE327 and CIE460 for the examples.
    """

    def __init__(
        self,
        *,
        label_schema: Union[str, Path],
        per_type: bool = False,
        template: Optional[str] = None,
        window: int = 256,
        max_distance: Optional[int] = 1,
        examples: Optional[Examples] = None,
    ) -> None:
        task = relation_prompt(per_type=per_type, template=template, window=window, max_distance=max_distance)
        super().__init__(label_schema, None, task, examples)

    def _queries(self, doc: Doc) -> list[Any]:
        return self._component.relation_queries([doc], DOC_TOKENIZER.tokenize([doc]), [get_all_spans(doc)])

    def _read_answers(self, doc: Doc, answers: list[str]) -> Answer:
        names = list(self._component.schema_of(doc).relations)
        keys = [(span.start, span.end, span.label_) for span in get_all_spans(doc)]
        found: dict[FoundRelation, None] = {}
        rejected: Counter[str] = Counter()
        for query, answer in zip(self._queries(doc), answers, strict=True):
            options = {_clean_line("".join(map(str, option))): i for i, option in enumerate(query.options)}
            for line in filter(None, map(_clean_line, answer.splitlines())):
                if line in options:
                    head, tail, kind = query.triples[options[line]]
                    found[FoundRelation(keys[head], keys[tail], names[kind], None)] = None
                else:
                    rejected["relation"] += 1
        return Answer([], list(found), rejected)


def _clean_line(line: str) -> str:
    """A line of a list without bullets and final punctuation, which chat models like to add."""
    return " ".join(line.strip(" \t-*•.,;").split())


def _as_constraint(answer: str) -> Any:
    """A finished constraint that holds an answer."""
    constraint: Any = Unconstrained(1, 0)
    constraint.found, constraint.done = [answer], True
    return constraint


class LocalModel:
    """A local causal language model for any task of an `llm` component. Prompts of many Docs are answered in batches.
    Registered as `spacy_clinie.CausalLM.v1` among spacy-llm's models.

    base (str): A folder, a model of the Hugging Face hub, `smollm2`, or `package:folder`.
    adapter (Optional[str]): A folder with adapters.
    max_new_tokens (Optional[int]): Most tokens of an answer. None for 512, or twice the tokens of the prompt if that is
        more: a copy with marks can be longer than its window.
    batch_pieces (int): A quarter of the padded tokens of one forward pass. Bounds memory.
    device (str): `auto` or a torch device.
    precision (str): `auto`, `fp32` or `bf16`.
    RAISES (ClinieError): What `CausalModule` and `pretrained.load_causal` raise, such as CIE303.
    """

    def __init__(
        self,
        *,
        base: str = "smollm2",
        adapter: Optional[str] = None,
        max_new_tokens: Optional[int] = None,
        batch_pieces: int = BATCH_PIECES,
        device: str = "auto",
        precision: str = "auto",
    ) -> None:
        from ..models.causal import CausalModule

        begin_computing()
        options = {"base": base, "adapter": adapter, "lookahead": 0, "batch_pieces": batch_pieces}
        options |= {"load_in_4bit": False, "gradient_checkpointing": False}
        self._module = CausalModule.create({**options, "device": device, "precision": precision})
        self._max_new_tokens = max_new_tokens

    @property
    def context_length(self) -> int:
        """Tokens of prompt and answer together."""
        return self._module.lm_tokenizer.context_length

    def __call__(self, prompts: Iterable[Iterable[Any]]) -> Iterable[Iterable[Any]]:
        """Answer prompts. Control tokens in them are read as text.

        prompts (Iterable[Iterable[Any]]): Prompts for each Doc.
        RETURNS (Iterable[Iterable[Any]]): Their answers.
        """
        begin_computing()
        codec = self._module.lm_tokenizer.codec
        prefix, suffix = codec.encode_prompt(window_only())
        texts = [[str(prompt) for prompt in own] for own in prompts]
        encoded = [PromptIds(tuple(prefix), [*codec.encode(text), *suffix]) for own in texts for text in own]
        limits = [self._max_new_tokens or max(512, 2 * len(prompt.rest)) for prompt in encoded]
        constraints = [Unconstrained(limit, codec.marks.end) for limit in limits]
        self._module.generate(encoded, constraints)
        answers = iter([codec.decode(constraint.found) for constraint in constraints])
        return [[next(answers) for _ in own] for own in texts]
