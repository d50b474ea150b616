"""The registered thinc architectures. Building one is cheap: weights come in at initialization, or when a trained
pipeline is loaded, and torch is imported no sooner.

These are ordinary thinc Models: they turn inputs into scores, and gradients of scores into gradients of their weights.
What is right is the component's business, in its `get_loss`. There is one exception, `causal_lm`.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Optional, Union, cast

import numpy as np
from thinc.api import Model, Shim

from ..errors import ClinieError
from .forks import begin_computing
from .listener import MARKS_UNREAD, EncoderListener
from .shim import TorchShim

HEADS = ("crf", "softmax")
PRECISIONS = ("auto", "fp32", "bf16")
BATCH_PIECES = 1024


def token_encoder(
    *,
    encoder: str = "minilm",
    lora: Optional[dict[str, Any]] = None,
    window: int = 256,
    overlap: int = 32,
    batch_pieces: int = BATCH_PIECES,
    step_pieces: Optional[int] = None,
    device: str = "auto",
    precision: str = "auto",
) -> Model:
    """Vectors of tokens by an encoder, which is a `tok2vec` for any model of thinc. Registered as
    `spacy_clinie.Encoder.v1`.

    encoder (str): A folder, a model of the hub, `minilm`, or `package:folder`.
    lora (Optional[dict[str, Any]]): Arguments of peft's LoraConfig; None tunes every weight.
    window (int): Word pieces that the encoder reads at once, special ones included.
    overlap (int): Word pieces that two windows share where a cut falls inside a sentence.
    batch_pieces (int): Padded word pieces that the encoder reads at once in training; twice as many in prediction.
    step_pieces (Optional[int]): Word pieces that a step of training reads at most; bounds its time and memory, where
        notes are long. Of more, windows are drawn by chance; None learns from all. A relation between two windows is
        learnt from only if both are drawn.
    device (str): `auto` or a torch device, see `pretrained.pick_device`.
    precision (str): `auto`, `fp32` or `bf16`.
    RETURNS (Model): Docs to vectors of their tokens, shape (tokens, width) for each: that of the first word piece, and
        zeros for a token without word pieces.
    RAISES (ClinieError): CIE307 for a setting that makes no sense.
    """
    return _torch_model("clinie_encoder", None, "token_vectors", "TokenVectors", dict(locals()))


def encoder_listener(*, upstream: str = "clinie_encoder", grad_factor: float = 1.0) -> Model:
    """The vectors of a `clinie_encoder` further up in the pipeline. Registered as `spacy_clinie.EncoderListener.v1`.

    upstream (str): Name of that component.
    grad_factor (float): Weight of the component's loss where the encoder learns from several: at 0, it learns nothing
        from this one.
    RETURNS (Model): Docs to vectors of their tokens, shape (tokens, width) for each.
    """
    return EncoderListener(upstream, _checked({"grad_factor": grad_factor})["grad_factor"])


def encoder_tagger(
    *,
    encoder: str = "minilm",
    head: str = "crf",
    threshold: float = 0.45,
    lora: Optional[dict[str, Any]] = None,
    window: int = 256,
    overlap: int = 32,
    batch_pieces: int = BATCH_PIECES,
    step_pieces: Optional[int] = None,
    device: str = "auto",
    precision: str = "auto",
) -> Model:
    """Concepts by tagging tokens: `tok2vec_tagger` on top of `token_encoder`, whose arguments it takes. Registered as
    `spacy_clinie.EncoderTagger.v1`."""
    settings = dict(locals())
    tagger = {name: settings.pop(name) for name in ("head", "threshold")}
    return tok2vec_tagger(tok2vec=token_encoder(**settings), **tagger)


def encoder_mrc(
    *,
    encoder: str = "minilm",
    threshold: float = 0.4,
    lora: Optional[dict[str, Any]] = None,
    window: int = 192,
    overlap: int = 32,
    unanswered: Optional[float] = 1.0,
    batch_pieces: int = BATCH_PIECES,
    step_pieces: Optional[int] = None,
    device: str = "auto",
    precision: str = "auto",
) -> Model:
    """Concepts by asking: one question of the schema for each concept type and window, nested answers allowed
    (Li et al. 2020, arXiv 1910.11476). Registered as `spacy_clinie.EncoderMRC.v1`.

    The arguments are those of `token_encoder`, where `window` and `step_pieces` hold the questions too, and:

    unanswered (Optional[float]): Questions without an answer that training asks for each one that has one, drawn by
        chance; most have none, and a model that is asked them all learns for long to answer nothing. None asks all.
    RETURNS (Model): `mrc.Question`s to `mrc.SpanScores`.
    """
    return _torch_model("clinie_encoder_mrc", "concepts", "mrc", "EncoderMRC", dict(locals()))


def tok2vec_tagger(*, tok2vec: Model, head: str = "crf", threshold: float = 0.45) -> Model:
    """Concepts by tagging the vectors of any `tok2vec`: an encoder, or a listener to one that components share.
    Registered as `spacy_clinie.Tok2VecTagger.v1`.

    tok2vec (Model): docs to an array of shape (tokens, width) for each.
    head (str): `crf` or `softmax`.
    threshold (float): Probability that a concept must surpass, between 0 and 1: lower finds more, higher errs less.
    RETURNS (Model): `ConceptInput`s to scores of tags, shape (tokens, types that are looked for, 5) for each; see
        `tag_chain`.
    RAISES (ClinieError): CIE307 for a setting that makes no sense.
    """
    return _on_vectors("clinie_tok2vec_tagger", "concepts", "tagger", "Tagger", dict(locals()))


def marked_pairs(
    *,
    encoder: str = "minilm",
    lora: Optional[dict[str, Any]] = None,
    window: int = 192,
    batch_pieces: int = BATCH_PIECES,
    step_pieces: Optional[int] = None,
    device: str = "auto",
    precision: str = "auto",
) -> Model:
    """Relations, one candidate at a time: markers around head and tail, which name their types, and a linear
    layer over the vectors of the first piece and the four markers (the study's method for encoders, arXiv 2509.04753).
    Registered as `spacy_clinie.MarkedPairs.v1`.

    encoder (str): A folder, a model of the hub, `minilm`, or `package:folder`.
    lora (Optional[dict[str, Any]]): Arguments of peft's LoraConfig; None tunes every weight.
    window (int): Word pieces and markers that the encoder reads at once.
    batch_pieces (int): Padded word pieces that the encoder reads at once in training; twice as many in prediction.
    step_pieces (Optional[int]): Word pieces that a step of training reads at most; bounds its time and memory, where
        lists of concepts make thousands of candidates. Of more, some are drawn by chance, as many that are related as
        such that are not; None learns from all.
    device (str): `auto` or a torch device, see `pretrained.pick_device`.
    precision (str): `auto`, `fp32` or `bf16`.
    RETURNS (Model): `PairInput`s to scores of shape (candidates, 1 + relations) for each, first "none".
    """
    return _torch_model("clinie_marked_pairs", "relations", "pairs", "MarkedPairs", dict(locals()))


def one_pass(
    *,
    encoder: str = "minilm",
    lora: Optional[dict[str, Any]] = None,
    window: int = 192,
    batch_pieces: int = BATCH_PIECES,
    step_pieces: Optional[int] = None,
    device: str = "auto",
    precision: str = "auto",
) -> Model:
    """Relations, all candidates of a window in one pass of the encoder: behind the window stand two vectors for each
    candidate, which read it from the places of head and tail. Registered as `spacy_clinie.OnePass.v1`.

    The arguments are those of `marked_pairs`, but that candidates take room in `batch_pieces`, not in `window`.
    Encoders whose attention is local (ModernBERT, Longformer) or relative to the place in the sequence (DeBERTa) cannot
    read this way and are refused (CIE314).

    RETURNS (Model): `PairInput`s to scores of shape (candidates, 1 + relations) for each, first "none".
    """
    return _torch_model("clinie_one_pass", "relations", "pairs", "OnePass", dict(locals()))


def tok2vec_pairs(*, tok2vec: Model, device: str = "auto") -> Model:
    """Relations over the vectors of any `tok2vec`: an encoder, or a listener to one that components share. Registered
    as `spacy_clinie.Tok2VecPairs.v1`.

    tok2vec (Model): docs to an array of shape (tokens, width) for each.
    device (str): Where the layers over the vectors are: `auto` or a torch device, see `pretrained.pick_device`.
    RETURNS (Model): `PairInput`s to scores of shape (candidates, 1 + relations) for each, first "none".
    """
    return _on_vectors("clinie_tok2vec_pairs", "relations", "vector_pairs", "VectorPairs", dict(locals()))


def pair_mrc(
    *,
    encoder: str = "minilm",
    lora: Optional[dict[str, Any]] = None,
    window: int = 256,
    unanswered: Optional[float] = 1.0,
    batch_pieces: int = BATCH_PIECES,
    step_pieces: Optional[int] = None,
    device: str = "auto",
    precision: str = "auto",
) -> Model:
    """Relations by asking: a question of the schema for each head and relation type, whose answers are tails; the head
    is marked where it stands. Registered as `spacy_clinie.PairMRC.v1`.

    The arguments are those of `marked_pairs`, where `window` and `step_pieces` hold the questions too, and `unanswered`
    of `encoder_mrc`.

    RETURNS (Model): `PairInput`s to scores of shape (candidates, 1 + relations) for each, first "none".
    """
    return _torch_model("clinie_pair_mrc", "relations", "pairs_mrc", "PairMRC", dict(locals()))


def causal_lm(
    *,
    base: str = "smollm2",
    adapter: Optional[Union[dict[str, Any], str]] = None,
    lookahead: int = 8,
    load_in_4bit: bool = False,
    gradient_checkpointing: bool = False,
    batch_pieces: int = BATCH_PIECES,
    step_pieces: Optional[int] = None,
    device: str = "auto",
    precision: str = "auto",
) -> Model:
    """Answers of a causal language model. Registered as `spacy_clinie.CausalLM.v1`.

    Its gradients do not go through thinc. The component trains it with `CausalModule.add_gradients`, which computes
    loss and gradients of a batch inside torch, for two reasons. All prompts of a batch share a prefix, often most of
    their tokens: it is read once, and backpropagated once. And each token of an answer has a logit for every entry of
    the vocabulary (some 50,000): torch frees them sub-batch by sub-batch, while thinc would hold all of them, and their
    gradients, at once.

    base (str): A folder, a model of the Hugging Face hub, `smollm2`, or `package:folder`.
    adapter (Optional[Union[dict[str, Any], str]]): Arguments of one of peft's configs, and its `peft_type` (LoRA if
        none is given); or a folder with adapters to start from. None trains every weight.
    lookahead (int): Tokens of an answer that are proposed and verified in one forward pass. Raise it where a pass is
        slow however many tokens it reads (a GPU); lower it where every token costs time.
    load_in_4bit (bool): Keep the weights of the base in 4 bits. Requires bitsandbytes, and an adapter for training.
    gradient_checkpointing (bool): Recompute activations in the backward pass: less memory, more time.
    batch_pieces (int): Padded tokens of one forward pass in training; prediction takes four times as many. Bounds
        memory.
    step_pieces (Optional[int]): Most tokens of a training step, without the shared prefixes. Bounds its time. If a
        batch has more, prompts are drawn at random, from each prefix in turn. None trains on all of them.
    device (str): `auto` or a torch device, see `pretrained.pick_device`.
    precision (str): `auto`, `fp32` or `bf16`.
    RETURNS (Model): From prompts and constraints to the same constraints, which then hold the answers.
    RAISES (ClinieError): CIE307 for an invalid setting; CIE316 if `load_in_4bit` is set and bitsandbytes is missing,
        raised when the base is loaded.
    """
    options = dict(locals())
    return _torch_model("clinie_causal_lm", "answers", "causal", "CausalModule", options, _answers_forward)


# The least threshold there is.
_LEAST = 0.001
# What each setting may be, and how that is said.
_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "head": (lambda value: value in HEADS, f"one of {', '.join(HEADS)}"),
    "precision": (lambda value: value in PRECISIONS, f"one of {', '.join(PRECISIONS)}"),
    "threshold": (lambda value: 0 <= value <= 1, "between 0 and 1"),
    "overlap": (lambda value: value >= 0, "at least 0"),
    "grad_factor": (lambda value: value >= 0, "at least 0"),
    "batch_pieces": (lambda value: value > 0, "at least 1"),
    "unanswered": (lambda value: value is None or value >= 0, "at least 0, or null"),
    "step_pieces": (lambda value: value is None or value > 0, "at least 1, or null"),
    "lookahead": (lambda value: value >= 0, "at least 0"),
}


def _checked(options: dict[str, Any]) -> dict[str, Any]:
    """The settings of an architecture.

    options (dict[str, Any]): By name.
    RETURNS (dict[str, Any]): The same.
    RAISES (ClinieError): CIE307 for one that makes no sense.
    """
    for setting, value in options.items():
        if setting in _RULES and not _RULES[setting][0](value):
            raise ClinieError("CIE307", setting=setting, value=value, choices=_RULES[setting][1])
    if "threshold" in options:
        # `spacy find-threshold` tries 0 and 1 as well; at 0 every stretch of a note would be a concept.
        options["threshold"] = min(max(options["threshold"], _LEAST), 1 - _LEAST)
    return options


def _shim(model: Model) -> TorchShim:
    return cast(TorchShim, model.shims[0])


class _Place:
    """Where a torch module comes from. Its methods, and not closures, are what models hold, so that a pipeline can be
    pickled, as processes that are spawned need it.

    file (str): Name of its file in this folder.
    name (str): Name of its class.
    options (dict[str, Any]): The settings of the architecture.
    """

    def __init__(self, file: str, name: str, options: dict[str, Any]) -> None:
        self.file, self.name, self.options = file, name, options

    @property
    def kind(self) -> Any:
        """The class, whose import brings torch in."""
        begin_computing()
        return getattr(import_module(f".{self.file}", __package__), self.name)

    def restore(self, folder: Path) -> Any:
        """Build it from what its `save` wrote."""
        return self.kind.restore(folder, self.options)

    def init(self, model: Model, X: Any = None, Y: Any = None) -> None:
        """Build it around a base model. Initialized once more, it begins anew: of what it learnt before, nothing may be
        left in the next fold of a cross-validation."""
        has_head = model.attrs["finds"] in ("concepts", "relations")
        module = self.kind.create(self.options, **({"schema": model.attrs["schema"]} if has_head else {}))
        _shim(model).module = module
        if model.attrs["finds"] is None:
            model.set_dim("nO", module.width, force=True)

    def init_on_vectors(self, model: Model, X: Any = None, Y: Any = None) -> None:
        """Build it on top of the vectors of a `tok2vec`."""
        (tok2vec,) = model.layers
        tok2vec.initialize(X=X)
        width = tok2vec.get_dim("nO") if tok2vec.has_dim("nO") else tok2vec.predict(X[:1])[0].shape[1]
        _shim(model).module = self.kind(width, model.attrs["schema"], self.options)


def _forward(model: Model, inputs: Any, is_train: bool) -> tuple[Any, Callable]:
    shim = _shim(model)
    if not is_train:
        return shim.module.predict(inputs), _no_gradient
    shim.set_dropout(model.attrs["dropout_rate"])
    outputs, backprop = shim.module.begin_update(inputs)
    if model.attrs["finds"] is None and not model.attrs.get(MARKS_UNREAD):
        outputs = [np.nan_to_num(rows) for rows in outputs]
    return outputs, backprop


def _no_gradient(gradient: Any) -> list:
    return []


def _vectors_forward(model: Model, items: Any, is_train: bool) -> tuple[Any, Callable]:
    shim, (tok2vec,) = _shim(model), model.layers
    docs = [item.doc for item in items]
    width = shim.module.width
    if not any(map(len, docs)):  # which no transformer takes
        return shim.module.predict(items, [np.zeros((0, width), dtype=np.float32) for _ in docs]), _no_gradient
    if not is_train:
        return shim.module.predict(items, _fitting(tok2vec.predict(docs), docs, width)), _no_gradient
    shim.set_dropout(model.attrs["dropout_rate"])
    vectors, backprop_vectors = tok2vec.begin_update(docs)
    scores, backprop = shim.module.begin_update(items, _fitting(vectors, docs, width))

    def finish(gradients: Any) -> list:
        backprop_vectors(backprop(gradients))
        return []

    return scores, finish


def _fitting(vectors: Any, docs: list[Any], width: int) -> Any:
    """Vectors of Docs, or CIE337 if a Doc has none or others: the encoder has not read it, or another component has
    written `doc.tensor` since."""
    for rows, doc in zip(vectors, docs, strict=True):
        if len(doc) and tuple(rows.shape) != (len(doc), width):
            raise ClinieError("CIE337", shape=tuple(rows.shape), tokens=len(doc), width=width)
    return vectors


def _answers_forward(model: Model, asked: Any, is_train: bool) -> tuple[Any, Callable]:
    if is_train:
        raise ClinieError("CIE335")
    return _shim(model).module.predict(asked), _no_gradient


def _torch_model(
    name: str, finds: Optional[str], file: str, module_name: str, options: dict[str, Any], forward: Callable = _forward
) -> Model:
    """A thinc Model around one of our torch modules."""
    place = _Place(file, module_name, _checked(options))
    attrs = {"finds": finds, "dropout_rate": 0.0}
    return Model(name, forward, init=place.init, dims={"nO": None}, shims=[TorchShim(place.restore)], attrs=attrs)


def _on_vectors(name: str, finds: str, file: str, module_name: str, options: dict[str, Any]) -> Model:
    """A thinc Model around a head of ours, on top of a `tok2vec`."""
    tok2vec: Model = options.pop("tok2vec")
    tok2vec.attrs[MARKS_UNREAD] = True
    place = _Place(file, module_name, _checked(options))
    attrs = {"finds": finds, "dropout_rate": 0.0}
    shims: list[Shim] = [TorchShim(place.restore)]
    return Model(name, _vectors_forward, init=place.init_on_vectors, layers=[tok2vec], shims=shims, attrs=attrs)
