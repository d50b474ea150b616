"""Encoders as torch modules that read Docs: what all our encoder models share."""

import copy
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple, Optional, TypeVar

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ..errors import ClinieError
from . import adapters, pretrained
from .wordpieces import Specials, by_budget, pad

_Input = TypeVar("_Input")


def _as_ones(sees: torch.Tensor) -> torch.Tensor:
    return sees.long()


def _as_addend(sees: torch.Tensor) -> torch.Tensor:
    far = torch.finfo(torch.float16).min
    return torch.zeros(sees.shape, device=sees.device).masked_fill(~sees, far)[:, None]


# How encoders are told which position sees which: up to 4.55, transformers takes ones and zeros of shape (rows,
# positions, positions), from 5 on what is added to the scores of attention, and DeBERTa takes ones in all versions.
MASKS = (_as_ones, _as_addend)


class Part(NamedTuple):
    """Scores that were computed together.

    scores (torch.Tensor): The scores.
    places (list[tuple[int, Any, Any]]): Number of an input, where in its array they go, and where in `scores` they lie.
    """

    scores: torch.Tensor
    places: list[tuple[int, Any, Any]]

    def write(self, outputs: list[np.ndarray]) -> None:
        """Put the scores into the arrays of their inputs."""
        scores = self.scores.detach().cpu().numpy()
        if self.scores.requires_grad:  # NaN of a training that diverges must not look like what was not read
            scores = np.nan_to_num(scores, nan=np.inf, posinf=np.inf, neginf=-np.inf)
        for number, rows, own in self.places:
            outputs[number][rows] = scores[own]

    def go_back(self, gradients: list[np.ndarray]) -> None:
        """Take the gradients of the inputs' arrays back."""
        slopes = np.zeros(tuple(self.scores.shape), dtype=np.float32)
        for number, rows, own in self.places:
            slopes[own] = gradients[number][rows]
        self.scores.backward(torch.from_numpy(slopes).to(self.scores.device))


class EncoderModule(nn.Module):
    """Base class: an encoder, its tokenizer, and what runs and saves them.

    encoder (PreTrainedModel | PeftModel): The encoder.
    tokenizer (PreTrainedTokenizerFast): Its tokenizer.
    fingerprint (str): Fingerprint of the base model, where the encoder carries adapters.
    options (dict[str, Any]): The settings of the architecture, see `architectures`.
    """

    def __init__(self, encoder: Any, tokenizer: Any, fingerprint: str, options: dict[str, Any]) -> None:
        super().__init__()
        self.encoder, self.tokenizer, self.fingerprint = encoder, tokenizer, fingerprint
        self.options = options
        self.specials = Specials(tokenizer)
        self.width: int = encoder.config.hidden_size
        accepted = signature(self.plain.forward).parameters
        self.has_segments = "token_type_ids" in accepted and getattr(encoder.config, "type_vocab_size", 0) > 1
        self.first_position = _first_position(encoder)
        self.mask = MASKS[0]
        self.limit = _longest_input(encoder, tokenizer)
        self.device = pretrained.pick_device(options["device"])
        self.precision = pretrained.pick_precision(options["precision"], self.device)
        # State of the weights, and what was made of them: in a tuple, so that it is no part of the module.
        self._cast: Optional[tuple[list[int], Any]] = None
        self.to(self.device)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._cast = None  # a copy counts the changes of its weights anew
        pretrained.read_as_text(self.tokenizer)

    @property
    def plain(self) -> Any:
        """The encoder that transformers loaded; LoRA lies within it."""
        return self.encoder.get_base_model() if hasattr(self.encoder, "get_base_model") else self.encoder

    @classmethod
    def create(cls, options: dict[str, Any], **more: Any) -> Any:
        """Build it around a pretrained base.

        options (dict[str, Any]): See the class; `encoder` names the base and `lora` holds the adapters' settings.
        **more (Any): Further arguments of the class.
        RETURNS (EncoderModule): The module.
        """
        encoder, tokenizer = pretrained.load_encoder(options["encoder"]), pretrained.load_tokenizer(options["encoder"])
        fingerprint = ""
        if options["lora"] is not None:
            fingerprint = adapters.fingerprint(encoder, tokenizer)
            encoder = adapters.add_adapter(encoder, options["lora"])
        return cls(encoder, tokenizer, fingerprint, options, **more)

    @classmethod
    def restore(cls, folder: Path, options: dict[str, Any], **more: Any) -> Any:
        """Build it from what `save` wrote.

        folder (Path): The folder.
        options (dict[str, Any]): See the class.
        **more (Any): Further arguments of the class.
        RETURNS (EncoderModule): The trained module.
        """
        encoder, tokenizer, fingerprint = adapters.restore_model(
            folder / "encoder", options["encoder"], pretrained.load_encoder
        )
        return cls(encoder, tokenizer, fingerprint, options, **more).eval()

    def save(self, folder: Path) -> None:
        """Write everything that `restore` needs.

        folder (Path): An existing folder.
        """
        (folder / "encoder").mkdir(exist_ok=True)
        adapters.save_model(self.encoder, self.tokenizer, self.options["encoder"], self.fingerprint, folder / "encoder")

    def layers(self) -> list[tuple[list[nn.Parameter], Optional[int]]]:
        """Parameters, and how many layers of the encoder lie above theirs; None for a head's."""
        return [(own, above) for above, own in enumerate(_from_the_top(self.plain))]

    def window_size(self, specials: int) -> int:
        """Pieces of a text in one window.

        specials (int): How many other pieces stand in the window.
        RETURNS (int): The `window` setting less these, or less where the model reads less.
        RAISES (ClinieError): CIE310 if nothing is left.
        """
        size = min(self.options["window"], self.limit) - specials
        if size < 4:
            raise ClinieError("CIE310", window=self.options["window"], specials=specials)
        return size

    def batches(
        self, inputs: Sequence[_Input], lengths: Sequence[int], most: Optional[int] = None
    ) -> Iterator[list[_Input]]:
        """Inputs that are read together: twice as many as `batch_pieces` says where nothing is learnt, since little is
        kept then.

        inputs (Sequence[_Input]): Windows, questions or excerpts.
        lengths (Sequence[int]): Pieces of each.
        most (Optional[int]): See `by_budget`.
        YIELDS (list[_Input]): Longest first.
        """
        budget = self.options["batch_pieces"] * (1 if torch.is_grad_enabled() else 2)
        for batch in by_budget(lengths, budget, most):
            yield [inputs[i] for i in batch]

    def encode(
        self,
        sequences: Iterable[np.ndarray],
        *,
        segments: Optional[Iterable[np.ndarray]] = None,
        markers: Optional[nn.Embedding] = None,
    ) -> torch.Tensor:
        """Run the encoder.

        sequences (Iterable[np.ndarray]): Ids of pieces, special ones included, each of shape (length,).
        segments (Optional[Iterable[np.ndarray]]): Segment of each piece.
        markers (Optional[nn.Embedding]): What a negative id stands for: -1 - m is row m.
        RETURNS (torch.Tensor): Vectors, shape (sequences, greatest length, width), fp32.
        """
        ids, mask = pad(sequences, self.specials.pad, self.device)
        inputs: dict[str, Any] = {"attention_mask": mask.long()}
        if markers is None:
            inputs["input_ids"] = ids
        else:
            words = self.encoder.get_input_embeddings()(ids.clamp(min=0))
            marks = markers((-1 - ids).clamp(min=0)).to(words.dtype)
            inputs["inputs_embeds"] = torch.where((ids < 0)[..., None], marks, words)
        if segments is not None and self.has_segments:
            inputs["token_type_ids"] = pad(segments, 0, self.device)[0]
        return self._run(inputs)

    def encode_levitated(
        self, sequences: Sequence[np.ndarray], levitated: Sequence[np.ndarray], markers: nn.Embedding
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Run the encoder over sequences with levitated markers, which come in pairs. A marker has the position and the
        mean word vector of a span of the sequence, and carries embeddings of its own. It attends to the sequence, to
        itself and to the other marker of its pair; no piece of the sequence attends to it.

        sequences (Sequence[np.ndarray]): Ids of pieces, special ones included, each of shape (length,).
        levitated (Sequence[np.ndarray]): For each sequence first piece, one past the last, and rows of `markers` that
            are added, shape (levitated markers, 2 + rows); those of a pair follow each other.
        markers (nn.Embedding): The embeddings.
        RETURNS (tuple[torch.Tensor, torch.Tensor]): Vectors of the pieces, shape (sequences, greatest length, width),
            and of the levitated markers, shape (sequences, greatest number, width), fp32.
        """
        ids, real = pad(sequences, self.specials.pad, self.device)
        columns = [pad([own[:, i] for own in levitated], 0, self.device) for i in range(levitated[0].shape[1])]
        there, (first, last, *marks) = columns[0][1], [values for values, _ in columns]
        length, number = ids.shape[1], first.shape[1]
        words = self.encoder.get_input_embeddings()(ids)
        sums = nn.functional.pad(words.cumsum(1), (0, 0, 1, 0))
        size = (last - first).clamp(min=1)[..., None]
        echo = (gather(sums, last) - gather(sums, first)) / size + markers(torch.stack(marks)).sum(0).to(words.dtype)
        place = torch.arange(length, device=self.device).expand_as(ids)
        pair = torch.arange(number, device=self.device) // 2
        sees = torch.cat([real, torch.zeros_like(there)], 1)[:, None].repeat(1, length + number, 1)
        sees[:, length:, length:] = pair[:, None] == pair
        inputs: dict[str, Any] = {
            "inputs_embeds": torch.cat([words, echo], 1),
            "attention_mask": self.mask(sees),
            "position_ids": torch.cat([place, first.clamp(max=length - 1)], 1) + self.first_position,
        }
        if self.has_segments:
            inputs["token_type_ids"] = torch.zeros_like(inputs["position_ids"])
        vectors = self._run(inputs)
        return vectors[:, :length], vectors[:, length:]

    def _run(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """The last hidden states of the encoder, fp32."""
        encoder = self.encoder if torch.is_grad_enabled() or self.precision is None else self._at_precision()
        autocast = torch.autocast(self.device.type, dtype=self.precision, enabled=self.precision is not None)
        with autocast:
            return encoder(**inputs).last_hidden_state.float()

    def _at_precision(self) -> Any:
        """The encoder with the weights of its linear layers in the precision that these compute in: autocast would
        convert them once more for every batch. It shares all other weights, and is made anew when they changed."""
        linear = [module for module in self.encoder.modules() if isinstance(module, nn.Linear)]
        weights = [parameter for module in linear for parameter in module.parameters()]
        state = [0 if weight.is_inference() else weight._version for weight in weights]
        if self._cast is None or self._cast[0] != state:
            own = {id(weight) for weight in weights}
            shared = {id(p): p for p in self.encoder.parameters() if id(p) not in own}
            cast = copy.deepcopy(self.encoder, shared)
            for module in cast.modules():
                if isinstance(module, nn.Linear):
                    module.to(self.precision)
            self._cast = state, cast.eval()
        return self._cast[1]

    def parts(self, inputs: Any) -> tuple[list[np.ndarray], Iterator[Part]]:
        """Compute the scores of inputs, in parts that bound memory.

        inputs (list[Any]): What the model reads.
        RETURNS (tuple[list[np.ndarray], Iterator[Part]]): An array for each input, NaN where scores go, and the parts,
            computed one after the other. In training, what `step_pieces` leaves out stays NaN.
        """
        raise NotImplementedError

    def predict(self, inputs: Any) -> list[Any]:
        """Score inputs.

        inputs (list[Any]): What the model reads.
        RETURNS (list[np.ndarray]): Scores of each.
        """
        self.eval()
        with torch.inference_mode():
            outputs, parts = self.parts(inputs)
            for part in parts:
                part.write(outputs)
        return outputs

    def begin_update(self, inputs: Any) -> tuple[list[Any], Callable[[Any], list]]:
        """Score inputs in training.

        inputs (list[Any]): What the model reads.
        RETURNS (tuple[list[np.ndarray], Callable]): Scores of each, and what takes their gradients back to the weights.
        """
        self.train()
        outputs, parts = self.parts(inputs)
        held = list(parts)
        for part in held:
            part.write(outputs)
        held.reverse()

        def backprop(gradients: list[np.ndarray]) -> list:
            while held:  # what a part holds for its gradients is free as soon as it has them
                held.pop().go_back(gradients)
            return []

        return outputs, backprop


class EncoderWithHead(EncoderModule):
    """Base class: an encoder that is read in a way of its own, with a head that no other component uses. A subclass
    adds the head in `build_head`.

    schema (dict[str, Any]): The schema that it answers in, as `Schema.to_dict` gives it.
    """

    def __init__(
        self, encoder: Any, tokenizer: Any, fingerprint: str, options: dict[str, Any], *, schema: dict[str, Any]
    ) -> None:
        super().__init__(encoder, tokenizer, fingerprint, options)
        self.schema = schema
        self.prepare()
        self.head: Any = self.build_head()
        self.to(self.device)

    @classmethod
    def restore(cls, folder: Path, options: dict[str, Any], **more: Any) -> Any:
        module = super().restore(folder, options, schema=load_schema(folder), **more)
        load_head(module.head, load_file(folder / "head.safetensors"))
        return module

    def save(self, folder: Path) -> None:
        super().save(folder)
        save_head(self.head, self.schema, folder)

    def prepare(self) -> None:
        """Change the encoder or the tokenizer before the head is built."""

    def build_head(self) -> nn.Module:
        """The layers on top of the encoder."""
        raise NotImplementedError

    def layers(self) -> list[tuple[list[nn.Parameter], Optional[int]]]:
        return [*super().layers(), (list(self.head.parameters()), None)]


def save_head(head: nn.Module, schema: dict[str, Any], folder: Path, **facts: Any) -> None:
    """Write a head.

    head (nn.Module): The head.
    schema (dict[str, Any]): The schema that it answers in.
    folder (Path): An existing folder.
    **facts (Any): What else stands in the file of weights.
    """
    weights = {name: weight.contiguous() for name, weight in head.state_dict().items()}
    save_file(weights, folder / "head.safetensors", {name: str(fact) for name, fact in facts.items()})
    (folder / "schema.json").write_text(json.dumps(schema, ensure_ascii=False), encoding="utf8")


def load_head(head: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """Load the weights of a head.

    head (nn.Module): The head, changed in place.
    weights (dict[str, torch.Tensor]): What `save_head` wrote.
    RAISES (ValueError): If they are those of another head.
    """
    try:
        head.load_state_dict(weights)
    except RuntimeError as error:  # which elsewhere tells of a device without memory
        raise ValueError(str(error)) from error


def load_schema(folder: Path) -> dict[str, Any]:
    """The schema that `save_head` wrote."""
    return dict(json.loads((folder / "schema.json").read_text(encoding="utf8")))


def gather(vectors: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Pick vectors of each sequence.

    vectors (torch.Tensor): Shape (sequences, length, width).
    index (torch.Tensor): Positions, shape (sequences, chosen).
    RETURNS (torch.Tensor): Shape (sequences, chosen, width).
    """
    return vectors.gather(1, index[..., None].expand(-1, -1, vectors.shape[-1]))


def _from_the_top(encoder: Any) -> list[list[nn.Parameter]]:
    """The parameters of an encoder: those of each layer from the last to the first, then the embeddings. What belongs
    to none is with the last layer, and so is everything where layers share their weights."""
    number, words = encoder.config.num_hidden_layers, encoder.get_input_embeddings()
    stacks = [m for m in encoder.modules() if isinstance(m, nn.ModuleList) and len(m) == number]
    if not stacks:
        return [list(encoder.parameters())]
    bottom = next(child for child in encoder.children() if any(module is words for module in child.modules()))
    groups = [list(layer.parameters()) for layer in reversed(stacks[0])] + [list(bottom.parameters())]
    known = {id(parameter) for own in groups for parameter in own}
    groups[0] += [parameter for parameter in encoder.parameters() if id(parameter) not in known]
    return groups


def _longest_input(encoder: Any, tokenizer: Any) -> int:
    """How many pieces a model reads at once."""
    limit = getattr(encoder.config, "max_position_embeddings", None) or tokenizer.model_max_length
    return int(limit) - _first_position(encoder)


def _first_position(encoder: Any) -> int:
    """The position of the first piece: RoBERTa's family counts from behind the padding id."""
    if encoder.config.model_type in ("roberta", "xlm-roberta", "camembert", "longformer"):
        return int(encoder.config.pad_token_id or 0) + 1
    return 0
