"""A causal language model that answers prompts: trained on answers, and held to what its machines permit.

Prompts share their beginning (instruction, schema, examples), so it is read once for all of them, in training as in
prediction. Answers are generated in batches; what a machine can guess is checked in the same pass as the choice before
it, so that copied text and forced labels cost no passes of their own.
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
from ..prompts.machines import Ask
from . import adapters, kv_cache, pretrained
from .decoding import Rows, choose
from .kv_cache import KeyValues
from .lm_tokenizer import Reader
from .wordpieces import by_budget, draw

# How many times more is read in one pass where nothing is learnt: one of few long rows takes nearly as long as one of
# many. Short ones count as more than they are, as more than some 30 rows are no faster.
_UNLEARNT = 4
_SHORTEST = 96

# Which of the last positions of each row get scores of the vocabulary, shape (rows, positions), in this thread.
_WANTED: ContextVar[Optional[torch.Tensor]] = ContextVar("wanted", default=None)


class CausalModule(nn.Module):
    """A causal language model with or without adapters.

    model (PreTrainedModel | PeftModel): The model.
    tokenizer (PreTrainedTokenizerFast): Its tokenizer.
    fingerprint (str): Fingerprint of the base model, where it carries adapters.
    options (dict[str, Any]): The settings of the architecture, see `architectures.causal_lm`.
    """

    def __init__(self, model: Any, tokenizer: Any, fingerprint: str, options: dict[str, Any]) -> None:
        super().__init__()
        self.model, self.tokenizer, self.fingerprint, self.options = model, tokenizer, fingerprint, options
        self.device = pretrained.pick_device(options["device"])
        self.precision = pretrained.pick_precision(options["precision"], self.device)
        tuned = getattr(model, "active_peft_config", None)
        problem = _unread(tuned)
        if problem:
            raise ClinieError("CIE305", problem=problem)
        self.reader = Reader(tokenizer, model.config)
        # What stands before every prompt.
        self._ahead = tuned.num_virtual_tokens if tuned is not None and tuned.is_prompt_learning else 0
        self.reader.limit -= self._ahead
        if options["guess"] >= self.reader.limit // 2:
            few = f"less than {self.reader.limit // 2}, half of what the model reads"
            raise ClinieError("CIE307", setting="guess", value=options["guess"], choices=few)
        argument = kv_cache.argument_of(self.plain)
        if argument is None:
            raise ClinieError("CIE318", kind=model.config.model_type)
        self._cache_argument = argument
        self.plain.get_output_embeddings().register_forward_pre_hook(_pick)
        if options["checkpoint"]:
            self.plain.gradient_checkpointing_enable({"use_reentrant": False})
        if not options["four_bit"]:  # such a base is put on its device when it is loaded
            self.to(self.device)
        self.eval()  # transformers' part is, and `_turn` asks for the whole

    @classmethod
    def create(cls, options: dict[str, Any]) -> "CausalModule":
        """Build it around a pretrained base.

        options (dict[str, Any]): See the class; `base` names the base and `adapter` holds the adapters' settings, or
            names their folder.
        RETURNS (CausalModule): The module.
        """
        model, tokenizer = _load(options)(options["base"]), pretrained.load_tokenizer(options["base"])
        mark = ""
        if isinstance(options["adapter"], str):
            model, mark = adapters.load_adapter(model, tokenizer, Path(options["adapter"]))
        elif options["adapter"] is not None:
            mark = adapters.fingerprint(model, tokenizer)
            model = adapters.add_adapter(model, {"task_type": "CAUSAL_LM", **options["adapter"]})
        return cls(model, tokenizer, mark, options)

    @classmethod
    def restore(cls, folder: Path, options: dict[str, Any]) -> "CausalModule":
        """Build it from what `save` wrote.

        folder (Path): The folder.
        options (dict[str, Any]): See the class.
        RETURNS (CausalModule): The trained module.
        """
        return cls(*adapters.restore_model(folder / "model", options["base"], _load(options)), options).eval()

    def save(self, folder: Path) -> None:
        """Write everything that `restore` needs.

        folder (Path): An existing folder.
        """
        (folder / "model").mkdir(exist_ok=True)
        adapters.save_model(self.model, self.tokenizer, self.options["base"], self.fingerprint, folder / "model")

    def layers(self) -> list[tuple[list[nn.Parameter], Optional[int]]]:
        """Parameters, all at one learning rate."""
        return [(list(self.model.parameters()), 0)]

    def predict(self, asked: tuple[Sequence[Ask], Sequence[Any]]) -> Sequence[Any]:
        """Answer prompts; see `answer`.

        asked (tuple[Sequence[Ask], Sequence[Machine]]): Prompts and machines.
        RETURNS (Sequence[Machine]): The machines.
        """
        self.answer(*asked)
        return asked[1]

    @property
    def plain(self) -> Any:
        """The model that transformers loaded; LoRA lies within it."""
        return self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model

    def learn(self, asks: Sequence[Ask], answers: Sequence[Sequence[int]]) -> float:
        """Add the gradient of a batch.

        asks (Sequence[Ask]): Prompts.
        answers (Sequence[Sequence[int]]): Ids of the right answer to each.
        RETURNS (float): Loss for each id of the answers that were learnt from, see `step_pieces`.
        RAISES (ClinieError): CIE317 for a base in 4 bits without an adapter.
        """
        if self.options["four_bit"] and not hasattr(self.model, "peft_config"):
            raise ClinieError("CIE317")
        self._turn(learning=True)
        lengths = [len(ask.rest) + len(answer) for ask, answer in zip(asks, answers, strict=True)]
        # Relations may be asked about ten times as often as concepts; each kind of prompt has its beginning.
        drawn = draw(lengths, self.options["step_pieces"], [ask.before for ask in asks])
        asks, answers, lengths = [asks[i] for i in drawn], [answers[i] for i in drawn], [lengths[i] for i in drawn]
        groups = list(self._groups(asks, lengths))
        weight, total = sum(len(answers[i]) for _, members in groups for i in members), 0.0
        for before, members in groups:
            whole = self._rereads(len(before) * len(members))
            reads = [lengths[i] + whole * len(before) for i in members]
            read = None
            if not whole:
                with self._computing():
                    read = self._begin(before)
            # What all rows begin with is read once, and goes back once: rows leave their gradients at a copy of it.
            leaves = kv_cache.detach(read)
            for batch in by_budget(reads, self.options["batch_pieces"]):
                rows = [members[i] for i in batch]
                with self._computing():
                    loss = self._loss(before, leaves, [asks[i].rest for i in rows], [answers[i] for i in rows])
                (loss / weight).backward()
                total += loss.item()
            kv_cache.backward(read, leaves)
        return total / max(weight, 1)

    def _rereads(self, ids: int) -> bool:
        """Whether rows are learnt from their beginning on, each by itself.

        ids (int): Of the beginnings of all rows together.
        RETURNS (bool): With gradient checkpointing, always; and on a GPU where they are few: a pass takes as long as
            its kernels take to be launched then, and this way there is one pass and not two.
        """
        return bool(self.options["checkpoint"]) or (self.device.type == "cuda" and ids <= self.options["batch_pieces"])

    def _turn(self, *, learning: bool) -> None:
        if self.training != learning:  # going through all layers takes longer than computing some of them
            self.train(learning)

    def _computing(self) -> torch.autocast:
        """Compute in the precision of the settings."""
        return torch.autocast(self.device.type, dtype=self.precision, enabled=self.precision is not None)

    def _groups(self, asks: Sequence[Ask], lengths: Sequence[int]) -> Iterator[tuple[tuple[int, ...], list[int]]]:
        """Indexes of prompts, grouped by how they begin, without those that are longer than the model reads.

        asks (Sequence[Ask]): Prompts.
        lengths (Sequence[int]): How much of each is read behind its beginning.
        YIELDS (tuple[tuple[int, ...], list[int]]): A beginning, and indexes.
        """
        order = sorted(range(len(asks)), key=lambda i: asks[i].before)
        fitting = [i for i in order if len(asks[i].before) + lengths[i] < self.reader.limit]
        if len(fitting) < len(order):
            warn("CIE331", count=len(order) - len(fitting), limit=self.reader.limit)
        for before, members in groupby(fitting, key=lambda i: asks[i].before):
            yield before, list(members)

    def _loss(
        self, before: tuple[int, ...], read: KeyValues, asked: list[Sequence[int]], answers: list[Sequence[int]]
    ) -> torch.Tensor:
        # The last id of an answer has nothing to predict.
        sequences = [[*ids, *answer[:-1]] for ids, answer in zip(asked, answers, strict=True)]
        wanted = list(map(len, answers))
        if read is None:
            logits = self._read_whole([[*before, *ids] for ids in sequences], wanted)
        else:
            logits, _ = self._read_on(
                sequences, read, Rows(len(sequences), kv_cache.length_of(read), self.device), wanted
            )
        target = torch.tensor([one for answer in answers for one in answer], device=self.device)
        return nn.functional.cross_entropy(logits.float(), target, reduction="sum")

    def answer(self, asks: Sequence[Ask], machines: Sequence[Any]) -> None:
        """Answer prompts, each within its machine.

        asks (Sequence[Ask]): Prompts.
        machines (Sequence[Machine]): One for each; they take the answers. Not done are, with a warning, those whose
            prompt (CIE331) or answer (CIE326) is longer than the model reads.
        """
        self._turn(learning=False)
        lengths = [len(ask.rest) for ask in asks]
        cut = 0
        with torch.inference_mode(), self._computing():
            for before, members in self._groups(asks, [length + self.options["guess"] for length in lengths]):
                read = self._begin(before)
                room = [max(lengths[i], _SHORTEST + lengths[i] // 4) for i in members]
                for batch in by_budget(room, _UNLEARNT * self.options["batch_pieces"]):
                    rows = [members[i] for i in batch]
                    self._answer(read, [asks[i].rest for i in rows], [machines[i] for i in rows])
                cut += sum(not machines[i].done for i in members)
        if cut:
            warn("CIE326", count=cut, limit=self.reader.limit)

    def _answer(self, read: KeyValues, asked: list[Sequence[int]], machines: list[Any]) -> None:
        rows = Rows(len(asked), kv_cache.length_of(read), self.device)
        waiting = [list(ids) for ids in asked]
        while machines:
            guesses = [machine.guess(self.options["guess"]) for machine in machines]
            fed = [[*ids, *guess] for ids, guess in zip(waiting, guesses, strict=True)]
            logits, read = self._read_on(fed, read, rows, [1 + len(guess) for guess in guesses])
            logits = logits.float()
            scores, totals = logits.cpu().numpy(), logits.logsumexp(-1).cpu().numpy()
            wrong = []
            begin = 0
            for row, (machine, guess) in enumerate(zip(machines, guesses, strict=True)):
                end = begin + 1 + len(guess)
                right, following = choose(machine, guess, scores[begin:end], totals[begin:end])
                waiting[row] = [following]
                wrong.append(len(guess) - right)
                begin = end
            rows.forget(wrong)
            # Only a model that marks everything within everything gets there; what it named so far stands.
            room = self.reader.limit + self._ahead - self.options["guess"]
            full = [used >= room for used in rows.lengths()]
            live = [row for row, machine in enumerate(machines) if not (machine.done or machine.cut or full[row])]
            machines, waiting = [machines[i] for i in live], [waiting[i] for i in live]
            if live:
                read = kv_cache.select(read, *rows.settle(live))

    def _begin(self, before: tuple[int, ...]) -> KeyValues:
        """Read what a group of prompts begins with, once: one row."""
        virtual = self._virtual()
        if not before and virtual is None:
            return None
        embedded = self._embed(torch.tensor([before], dtype=torch.long, device=self.device))
        if virtual is not None:
            embedded = torch.cat([virtual.to(embedded.dtype), embedded], 1)
        cache = kv_cache.to_cache(None, 1)
        with _scored(torch.zeros(1, 0, dtype=torch.bool, device=self.device)):
            self.plain(inputs_embeds=embedded, use_cache=True, **{self._cache_argument: cache})
        return kv_cache.from_cache(cache)

    def _virtual(self) -> Optional[torch.Tensor]:
        """What p-tuning and prompt tuning put before every prompt, shape (1, ids, width)."""
        active = getattr(self.model, "active_peft_config", None)
        if active is None or not active.is_prompt_learning:
            return None
        return self.model.get_prompt(batch_size=1)

    def _embed(self, ids: torch.Tensor) -> torch.Tensor:
        return self.plain.get_input_embeddings()(ids)

    def _read_on(
        self, sequences: Sequence[Sequence[int]], read: KeyValues, rows: Rows, wanted: Sequence[int]
    ) -> tuple[torch.Tensor, Any]:
        """Read more of some rows.

        sequences (Sequence[Sequence[int]]): Ids for each row.
        read (KeyValues): What was read before, of all rows or of one for all of them.
        rows (_Rows): Which of it counts; changed in place.
        wanted (Sequence[int]): How many of the last positions of each row get scores.
        RETURNS (tuple[torch.Tensor, KeyValues]): Scores, shape (sum of `wanted`, vocabulary), and all that was read.
        """
        ids, real, scored = self._filled(sequences, wanted)
        positions = rows.append(real)
        cache = kv_cache.to_cache(read, len(sequences))
        with _scored(scored):
            done = self.plain(
                inputs_embeds=self._embed(ids),
                attention_mask=rows.counts.long(),
                position_ids=positions,
                use_cache=True,
                **{self._cache_argument: cache},
            )
        return done.logits, kv_cache.from_cache(cache)

    def _read_whole(self, sequences: Sequence[Sequence[int]], wanted: Sequence[int]) -> torch.Tensor:
        """Read rows from their beginning, and keep nothing of what was read: for gradients it is read once more, layer
        by layer (Chen et al. 2016, arXiv 1604.06174).

        sequences (Sequence[Sequence[int]]): All ids of each row.
        wanted (Sequence[int]): How many of the last positions of each row get scores.
        RETURNS (torch.Tensor): Scores, shape (sum of `wanted`, vocabulary).
        """
        ids, real, scored = self._filled(sequences, wanted)
        embedded, virtual = self._embed(ids), self._virtual()
        ahead = 0 if virtual is None else virtual.shape[1]
        rows = Rows(len(sequences), ahead, self.device)
        positions = rows.append(real)
        if virtual is not None:
            embedded = torch.cat([virtual.to(embedded.dtype).expand(len(sequences), -1, -1), embedded], 1)
            first = torch.arange(ahead, device=self.device).expand(len(sequences), -1)
            positions = torch.cat([first, positions], 1)
        with _scored(scored):
            done = self.plain(
                inputs_embeds=embedded, attention_mask=rows.counts.long(), position_ids=positions, use_cache=False
            )
        return done.logits

    def _filled(self, sequences: Sequence[Sequence[int]], wanted: Sequence[int]) -> tuple[torch.Tensor, ...]:
        """Rows of one length, filled up behind, so that nothing stands between what was read before and what is read
        now: ids, which of them are real, and which of them get scores, all of shape (rows, longest)."""
        lengths = np.array([[len(ids)] for ids in sequences])
        place = np.arange(lengths.max())
        table = np.zeros((len(sequences), len(place)), dtype=np.int64)
        for row, ids in enumerate(sequences):
            table[row, : len(ids)] = ids
        real = place < lengths
        scored = real & (place >= lengths - np.array(wanted)[:, None])
        return tuple(torch.from_numpy(one).to(self.device) for one in (table, real, scored))


@contextmanager
def _scored(wanted: torch.Tensor) -> Iterator[None]:
    """Within this, models of this thread compute scores of the vocabulary, a great part of all their work, for some
    positions only, and give them as one row of positions.

    wanted (torch.Tensor): Which of the last positions of each row get scores, shape (rows, positions).
    """
    before = _WANTED.set(wanted)
    try:
        yield
    finally:
        _WANTED.reset(before)


def _pick(layer: nn.Module, inputs: tuple[torch.Tensor]) -> Optional[tuple[torch.Tensor]]:  # noqa: ARG001
    """What the layer that scores the vocabulary is given of the positions that were read: a copy. Given a slice of
    them, torch would copy the weights of the whole vocabulary for each row."""
    wanted = _WANTED.get()
    return None if wanted is None else (inputs[0][:, inputs[0].shape[1] - wanted.shape[1] :][wanted],)


def _unread(tuned: Any) -> Optional[str]:
    """Why adapters would do nothing or fail where the base is called, and not peft around it."""
    if tuned is None:
        return None
    kind = getattr(tuned.peft_type, "value", tuned.peft_type)
    virtual = tuned.is_prompt_learning and kind not in ("P_TUNING", "PROMPT_TUNING")
    if virtual or kind in ("ADALORA", "POLY", "XLORA"):
        return f"adapters of the kind {kind} are not read"
    invoked = getattr(tuned, "alora_invocation_tokens", None)
    return "adapters that an invocation turns on are not read" if invoked else None


def _load(options: dict[str, Any]) -> Callable[[str], Any]:
    """How a base is loaded: one that is never changed lies in memory in the precision that it computes in, or in 4
    bits."""
    device = pretrained.pick_device(options["device"])
    precision = pretrained.pick_precision(options["precision"], device)
    settings: dict[str, Any] = {}
    if options["adapter"] is not None and precision is not None:
        settings |= pretrained.weights_in(precision)
    if precision is not None and device.type == "cpu":
        # A processor's fused attention is slow in bf16, above all at going back; products and a softmax are faster.
        settings["attn_implementation"] = "eager"
    if options["four_bit"]:
        settings |= pretrained.four_bit(precision, device)
    return lambda name: pretrained.load_causal(name, settings)
