"""A causal language model that answers prompts under constraints, and is trained on answers.

Prompts share a prefix (instruction, schema, examples), which is read once for all of them, in training as in
prediction. Answers are generated in batches. In each forward pass the model also verifies the tokens that a constraint
proposes, so copied text and forced labels cost no passes of their own.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import groupby
from pathlib import Path
from typing import Any, Optional

import numpy as np
import torch
from torch import nn

from ..errors import ClinieError, warn
from ..prompts.constraints import PromptIds
from . import adapters, kv_cache, pretrained
from .decoding import BatchMask, verify
from .kv_cache import KeyValues
from .lm_tokenizer import LMTokenizer
from .wordpieces import by_budget, draw

# Batches of prediction are this many times larger than those of training: a pass over a few long rows takes nearly as
# long as one over many. Short rows count as longer than they are, since more than some 30 rows are no faster.
_PREDICTION_FACTOR = 4
_MIN_ROW_LENGTH = 96

# The positions that get logits in this thread, shape (rows, positions), aligned to the end of what is read; None for
# all.
_LOGITS_AT: ContextVar[Optional[torch.Tensor]] = ContextVar("logits_at", default=None)


class CausalModule(nn.Module):
    """A causal language model with or without adapters.

    model (PreTrainedModel | PeftModel): The model.
    tokenizer (PreTrainedTokenizerFast): Its tokenizer.
    fingerprint (str): Fingerprint of the base model; "" without adapters.
    options (dict[str, Any]): The settings of the architecture, see `architectures.causal_lm`.
    RAISES (ClinieError): CIE305 for adapters that are not supported, CIE307 for a lookahead that is too long, CIE318
        for a model without a key-value cache.
    """

    def __init__(self, model: Any, tokenizer: Any, fingerprint: str, options: dict[str, Any]) -> None:
        super().__init__()
        self.model, self.tokenizer, self.fingerprint, self.options = model, tokenizer, fingerprint, options
        self.device = pretrained.pick_device(options["device"])
        self.precision = pretrained.pick_precision(options["precision"], self.device)
        adapter = getattr(model, "active_peft_config", None)
        problem = _unsupported(adapter)
        if problem:
            raise ClinieError("CIE305", problem=problem)
        self.lm_tokenizer = LMTokenizer(tokenizer, model.config)
        self._virtual_length = adapter.num_virtual_tokens if adapter is not None and adapter.is_prompt_learning else 0
        self.lm_tokenizer.context_length -= self._virtual_length
        if options["lookahead"] >= self.lm_tokenizer.context_length // 2:
            most = f"less than {self.lm_tokenizer.context_length // 2}, half of the tokens that the model can read"
            raise ClinieError("CIE307", setting="lookahead", value=options["lookahead"], choices=most)
        cache_argument = kv_cache.cache_argument(self.base_model)
        if cache_argument is None:
            raise ClinieError("CIE318", kind=model.config.model_type)
        self._cache_argument = cache_argument
        self.base_model.get_output_embeddings().register_forward_pre_hook(_select_positions)
        if options["gradient_checkpointing"]:
            self.base_model.gradient_checkpointing_enable({"use_reentrant": False})
        if not options["load_in_4bit"]:  # which puts the base on its device when it is loaded
            self.to(self.device)
        self.eval()  # transformers' part is already; `_set_training` looks at the whole module

    @classmethod
    def create(cls, options: dict[str, Any]) -> "CausalModule":
        """Build it from a pretrained base.

        options (dict[str, Any]): See the class. `base` names the base; `adapter` has the settings of new adapters, or
            names the folder of trained ones.
        RETURNS (CausalModule): The module.
        """
        model, tokenizer = _loader(options)(options["base"]), pretrained.load_tokenizer(options["base"])
        fingerprint = ""
        if isinstance(options["adapter"], str):
            model, fingerprint = adapters.load_adapter(model, tokenizer, Path(options["adapter"]))
        elif options["adapter"] is not None:
            fingerprint = adapters.fingerprint(model, tokenizer)
            model = adapters.add_adapter(model, {"task_type": "CAUSAL_LM", **options["adapter"]})
        return cls(model, tokenizer, fingerprint, options)

    @classmethod
    def restore(cls, folder: Path, options: dict[str, Any]) -> "CausalModule":
        """Build it from what `save` wrote.

        folder (Path): The folder.
        options (dict[str, Any]): See the class.
        RETURNS (CausalModule): The trained module.
        """
        return cls(*adapters.restore_model(folder / "model", options["base"], _loader(options)), options).eval()

    def save(self, folder: Path) -> None:
        """Write everything that `restore` needs.

        folder (Path): An existing folder.
        """
        (folder / "model").mkdir(exist_ok=True)
        adapters.save_model(self.model, self.tokenizer, self.options["base"], self.fingerprint, folder / "model")

    def layers(self) -> list[tuple[list[nn.Parameter], Optional[int]]]:
        """All parameters, in one group: a language model has one learning rate."""
        return [(list(self.model.parameters()), 0)]

    def predict(self, inputs: tuple[Sequence[PromptIds], Sequence[Any]]) -> Sequence[Any]:
        """Answer prompts; see `generate`.

        inputs (tuple[Sequence[PromptIds], Sequence[Constraint]]): Prompts and constraints.
        RETURNS (Sequence[Constraint]): The constraints.
        """
        self.generate(*inputs)
        return inputs[1]

    @property
    def base_model(self) -> Any:
        """The model of transformers, without peft's wrapper. Layers of LoRA are inside it."""
        return self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model

    def add_gradients(self, prompts: Sequence[PromptIds], answers: Sequence[Sequence[int]]) -> float:
        """Compute the loss of a batch, and add its gradients to those of the weights.

        prompts (Sequence[PromptIds]): Prompts.
        answers (Sequence[Sequence[int]]): Ids of the right answer to each.
        RETURNS (float): Mean loss of the tokens of all answers that `step_pieces` left in the batch.
        RAISES (ClinieError): CIE317 for a base in 4 bits without an adapter.
        """
        if self.options["load_in_4bit"] and not hasattr(self.model, "peft_config"):
            raise ClinieError("CIE317")
        self._set_training(True)
        lengths = [len(prompt.rest) + len(answer) for prompt, answer in zip(prompts, answers, strict=True)]
        # In turn by prefix, as a batch may have ten times more prompts for relations than for concepts.
        drawn = draw(lengths, self.options["step_pieces"], [prompt.prefix for prompt in prompts])
        prompts, answers = [prompts[i] for i in drawn], [answers[i] for i in drawn]
        lengths = [lengths[i] for i in drawn]
        groups = list(self._by_prefix(prompts, lengths))
        tokens, total = sum(len(answers[i]) for _, members in groups for i in members), 0.0
        for prefix, members in groups:
            repeat = self._repeats_prefix(len(prefix) * len(members))
            read_lengths = [lengths[i] + repeat * len(prefix) for i in members]
            cached = None
            if not repeat:
                with self._autocast():
                    cached = self._read_prefix(prefix)
            # All rows start from one cached prefix. Their gradients add up at a detached copy, and go through the
            # prefix in one backward pass.
            leaves = kv_cache.detach(cached)
            for batch in by_budget(read_lengths, self.options["batch_pieces"]):
                rows = [members[i] for i in batch]
                with self._autocast():
                    loss = self._loss(prefix, leaves, [prompts[i].rest for i in rows], [answers[i] for i in rows])
                (loss / tokens).backward()
                total += loss.item()
            kv_cache.backward(cached, leaves)
        return total / max(tokens, 1)

    def _repeats_prefix(self, tokens: int) -> bool:
        """Whether training reads the prefix once for every row, and not once for all of them.

        tokens (int): Tokens of the prefixes of all rows.
        RETURNS (bool): Always with gradient checkpointing, which allows no cache. Also on a GPU if the tokens are few:
            there a small pass takes as long as launching its kernels, and one pass is faster than two.
        """
        checkpointing = bool(self.options["gradient_checkpointing"])
        return checkpointing or (self.device.type == "cuda" and tokens <= self.options["batch_pieces"])

    def _set_training(self, training: bool) -> None:
        if self.training != training:  # `train` visits every layer, which takes longer than computing some of them
            self.train(training)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=self.precision, enabled=self.precision is not None)

    def _by_prefix(
        self, prompts: Sequence[PromptIds], lengths: Sequence[int]
    ) -> Iterator[tuple[tuple[int, ...], list[int]]]:
        """Group prompts by prefix. Those that are too long for the model are skipped with a warning (CIE331).

        prompts (Sequence[PromptIds]): Prompts.
        lengths (Sequence[int]): How many tokens of each are read after the prefix.
        YIELDS (tuple[tuple[int, ...], list[int]]): A prefix, and indexes of prompts.
        """
        limit = self.lm_tokenizer.context_length
        order = sorted(range(len(prompts)), key=lambda i: prompts[i].prefix)
        fitting = [i for i in order if len(prompts[i].prefix) + lengths[i] < limit]
        if len(fitting) < len(order):
            warn("CIE331", count=len(order) - len(fitting), limit=limit)
        for prefix, members in groupby(fitting, key=lambda i: prompts[i].prefix):
            yield prefix, list(members)

    def _loss(
        self, prefix: tuple[int, ...], cached: KeyValues, rests: list[Sequence[int]], answers: list[Sequence[int]]
    ) -> torch.Tensor:
        """Cross entropy of answers, summed over their tokens. Without a cache, the prefix is read here."""
        # After the last id of an answer there is nothing to predict.
        sequences = [[*ids, *answer[:-1]] for ids, answer in zip(rests, answers, strict=True)]
        scored = list(map(len, answers))
        if cached is None:
            logits = self._read_without_cache([[*prefix, *ids] for ids in sequences], scored)
        else:
            mask = BatchMask(len(sequences), kv_cache.length(cached), self.device)
            logits, _ = self._read_with_cache(sequences, cached, mask, scored)
        target = torch.tensor([token for answer in answers for token in answer], device=self.device)
        return nn.functional.cross_entropy(logits.float(), target, reduction="sum")

    def generate(self, prompts: Sequence[PromptIds], constraints: Sequence[Any]) -> None:
        """Answer prompts by constrained greedy decoding. A prompt (CIE331) or an answer (CIE326) that is longer than
        the model can read leaves its constraint not done, with a warning.

        prompts (Sequence[PromptIds]): Prompts.
        constraints (Sequence[Constraint]): One for each prompt; changed in place.
        """
        self._set_training(False)
        lengths = [len(prompt.rest) for prompt in prompts]
        unfinished = 0
        with torch.inference_mode(), self._autocast():
            needed = [length + self.options["lookahead"] for length in lengths]
            for prefix, members in self._by_prefix(prompts, needed):
                cached = self._read_prefix(prefix)
                expected = [max(lengths[i], _MIN_ROW_LENGTH + lengths[i] // 4) for i in members]
                for batch in by_budget(expected, _PREDICTION_FACTOR * self.options["batch_pieces"]):
                    rows = [members[i] for i in batch]
                    self._generate(cached, [prompts[i].rest for i in rows], [constraints[i] for i in rows])
                unfinished += sum(not constraints[i].done for i in members)
        if unfinished:
            warn("CIE326", count=unfinished, limit=self.lm_tokenizer.context_length)

    def _generate(self, cached: KeyValues, rests: list[Sequence[int]], constraints: list[Any]) -> None:
        """Answer prompts of one prefix.

        cached (KeyValues): The prefix, one row.
        rests (list[Sequence[int]]): The ids of each prompt after it.
        constraints (list[Constraint]): One for each prompt.
        """
        mask = BatchMask(len(rests), kv_cache.length(cached), self.device)
        unread = [list(ids) for ids in rests]
        while constraints:
            proposals = [constraint.propose(self.options["lookahead"]) for constraint in constraints]
            sequences = [[*ids, *proposed] for ids, proposed in zip(unread, proposals, strict=True)]
            scored = [1 + len(proposed) for proposed in proposals]
            output, cached = self._read_with_cache(sequences, cached, mask, scored)
            output = output.float()
            logits, normalizers = output.cpu().numpy(), output.logsumexp(-1).cpu().numpy()
            rejected = []
            start = 0
            for row, (constraint, proposed) in enumerate(zip(constraints, proposals, strict=True)):
                stop = start + 1 + len(proposed)
                accepted, token = verify(constraint, proposed, logits[start:stop], normalizers[start:stop])
                unread[row] = [token]
                rejected.append(len(proposed) - accepted)
                start = stop
            mask.drop_last(rejected)
            # Only a model that marks nearly everything, at every depth, gets here. What it has named so far is kept.
            room = self.lm_tokenizer.context_length + self._virtual_length - self.options["lookahead"]
            full = [length >= room for length in mask.lengths()]
            live = [i for i, one in enumerate(constraints) if not (one.done or one.truncated or full[i])]
            constraints, unread = [constraints[i] for i in live], [unread[i] for i in live]
            if live:
                cached = kv_cache.select(cached, *mask.compact(live))

    def _read_prefix(self, prefix: tuple[int, ...]) -> KeyValues:
        """Read a prefix as one row, behind the virtual tokens."""
        virtual = self._virtual_tokens()
        if not prefix and virtual is None:
            return None
        embedded = self._embed(torch.tensor([prefix], dtype=torch.long, device=self.device))
        if virtual is not None:
            embedded = torch.cat([virtual.to(embedded.dtype), embedded], 1)
        cache = kv_cache.to_cache(None, 1)
        with _logits_at(torch.zeros(1, 0, dtype=torch.bool, device=self.device)):
            self.base_model(inputs_embeds=embedded, use_cache=True, **{self._cache_argument: cache})
        return kv_cache.from_cache(cache)

    def _virtual_tokens(self) -> Optional[torch.Tensor]:
        """The embeddings that p-tuning and prompt tuning put before every prompt, shape (1, tokens, width)."""
        adapter = getattr(self.model, "active_peft_config", None)
        if adapter is None or not adapter.is_prompt_learning:
            return None
        return self.model.get_prompt(batch_size=1)

    def _embed(self, ids: torch.Tensor) -> torch.Tensor:
        return self.base_model.get_input_embeddings()(ids)

    def _read_with_cache(
        self, sequences: Sequence[Sequence[int]], cached: KeyValues, mask: BatchMask, scored: Sequence[int]
    ) -> tuple[torch.Tensor, KeyValues]:
        """Read more tokens of some rows.

        sequences (Sequence[Sequence[int]]): Ids for each row.
        cached (KeyValues): What was read before, of all rows or of one row for all of them.
        mask (BatchMask): Which cached positions count; extended in place.
        scored (Sequence[int]): How many of the last positions of each row get logits.
        RETURNS (tuple[torch.Tensor, KeyValues]): Logits, shape (sum of `scored`, vocabulary), and everything that was
            read.
        """
        ids, real, logits_at = self._pad(sequences, scored)
        positions = mask.append(real)
        cache = kv_cache.to_cache(cached, len(sequences))
        with _logits_at(logits_at):
            output = self.base_model(
                inputs_embeds=self._embed(ids),
                attention_mask=mask.mask.long(),
                position_ids=positions,
                use_cache=True,
                **{self._cache_argument: cache},
            )
        return output.logits, kv_cache.from_cache(cache)

    def _read_without_cache(self, sequences: Sequence[Sequence[int]], scored: Sequence[int]) -> torch.Tensor:
        """Read whole rows in one pass, as gradient checkpointing requires (Chen et al. 2016, arXiv 1604.06174).

        sequences (Sequence[Sequence[int]]): All ids of each row.
        scored (Sequence[int]): How many of the last positions of each row get logits.
        RETURNS (torch.Tensor): Logits, shape (sum of `scored`, vocabulary).
        """
        ids, real, logits_at = self._pad(sequences, scored)
        embedded, virtual = self._embed(ids), self._virtual_tokens()
        ahead = 0 if virtual is None else virtual.shape[1]
        mask = BatchMask(len(sequences), ahead, self.device)
        positions = mask.append(real)
        if virtual is not None:
            embedded = torch.cat([virtual.to(embedded.dtype).expand(len(sequences), -1, -1), embedded], 1)
            first = torch.arange(ahead, device=self.device).expand(len(sequences), -1)
            positions = torch.cat([first, positions], 1)
        with _logits_at(logits_at):
            output = self.base_model(
                inputs_embeds=embedded, attention_mask=mask.mask.long(), position_ids=positions, use_cache=False
            )
        return output.logits

    def _pad(self, sequences: Sequence[Sequence[int]], scored: Sequence[int]) -> tuple[torch.Tensor, ...]:
        """Pad rows on the right, so that new tokens follow the cached ones without a gap.

        sequences (Sequence[Sequence[int]]): Ids for each row.
        scored (Sequence[int]): How many of the last positions of each row get logits.
        RETURNS (tuple[torch.Tensor, ...]): Ids, which of them are no padding, and which get logits, all of shape
            (rows, longest).
        """
        lengths = np.array([[len(ids)] for ids in sequences])
        place = np.arange(lengths.max())
        table = np.zeros((len(sequences), len(place)), dtype=np.int64)
        for row, ids in enumerate(sequences):
            table[row, : len(ids)] = ids
        real = place < lengths
        logits_at = real & (place >= lengths - np.array(scored)[:, None])
        return tuple(torch.from_numpy(one).to(self.device) for one in (table, real, logits_at))


@contextmanager
def _logits_at(positions: torch.Tensor) -> Iterator[None]:
    """Have models of this thread compute logits for some positions only, as one row of positions. Logits are a large
    share of all computation.

    positions (torch.Tensor): Which of the last positions of each row, shape (rows, positions).
    """
    before = _LOGITS_AT.set(positions)
    try:
        yield
    finally:
        _LOGITS_AT.reset(before)


def _select_positions(layer: nn.Module, inputs: tuple[torch.Tensor]) -> Optional[tuple[torch.Tensor]]:  # noqa: ARG001
    """A hook that gives the output layer only the positions of `_logits_at`. Boolean indexing copies them: given a
    slice, torch would copy the weights of the whole vocabulary for each row."""
    wanted = _LOGITS_AT.get()
    return None if wanted is None else (inputs[0][:, inputs[0].shape[1] - wanted.shape[1] :][wanted],)


def _unsupported(adapter: Any) -> Optional[str]:
    """Why adapters (a PeftConfig or None) do nothing or fail if the base is called directly and not through peft."""
    if adapter is None:
        return None
    kind = getattr(adapter.peft_type, "value", adapter.peft_type)
    prompt_learning = adapter.is_prompt_learning and kind not in ("P_TUNING", "PROMPT_TUNING")
    if prompt_learning or kind in ("ADALORA", "POLY", "XLORA"):
        return f"adapters of type {kind} are not supported"
    invoked = getattr(adapter, "alora_invocation_tokens", None)
    return "adapters that invocation tokens turn on (aLoRA) are not supported" if invoked else None


def _loader(options: dict[str, Any]) -> Callable[[str], Any]:
    """A function that loads a base. A frozen base is kept in the precision that it computes in, or in 4 bits."""
    device = pretrained.pick_device(options["device"])
    precision = pretrained.pick_precision(options["precision"], device)
    settings: dict[str, Any] = {}
    if options["adapter"] is not None and precision is not None:
        settings |= pretrained.weights_in(precision)
    if precision is not None and device.type == "cpu":
        # Fused attention is slow in bf16 on a CPU, above all in the backward pass.
        settings["attn_implementation"] = "eager"
    if options["load_in_4bit"]:
        settings |= pretrained.weights_in_4bit(precision, device)
    return lambda name: pretrained.load_causal(name, settings)
