"""From text to word pieces and back, for tokenizers of every make."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
import spacy
import torch
import transformers
from hypothesis import example, given, settings
from hypothesis import strategies as st
from spacy.vocab import Vocab
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from spacy_clinie.doc.concepts import add_concepts
from spacy_clinie.doc.tokenizer import make_tokenizer
from spacy_clinie.models.pretrained import load_tokenizer
from spacy_clinie.models.wordpieces import Specials, by_budget, draw, make_pieces, sample_unanswered
from tests.conftest import modules_of, tiny_settings
from tests.decoders import watched_causal
from tests.tiny import make_encoder

TOKENIZER = make_tokenizer(Vocab())
TEXT = st.text(st.sampled_from("ab1 .\n\té🩺\u200b-/") | st.characters(exclude_categories=("Cs",)), max_size=60)


@pytest.fixture(scope="module", params=["bert", "roberta"])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    return load_tokenizer(make_encoder(tmp_path_factory.mktemp("encoder"), request.param))


def test_units_are_tokens_at_the_pieces_that_stand_for_them(tokenizer) -> None:
    @given(TEXT)
    @settings(max_examples=200, deadline=None)
    def check(text: str) -> None:
        doc = TOKENIZER(text)
        (pieced,) = make_pieces([doc], tokenizer)
        assert (np.diff(pieced.firsts) >= 0).all()
        for token, first in zip(pieced.tokens, pieced.firsts, strict=True):
            begin, end = doc[int(token)].idx, doc[int(token)].idx + len(doc[int(token)])
            assert pieced.starts[first] < end and pieced.ends[first] > begin
        assert len(set(pieced.firsts.tolist())) == len(pieced.firsts), "two tokens look alike"
        windows = pieced.windows(8, 2)
        assert sum(window.own_stop - window.own_start for window in windows) == len(pieced.ids)

    check()


def test_text_that_looks_like_a_control_token_is_text(tokenizer) -> None:
    (pieced,) = make_pieces([TOKENIZER("[SEP] aspirin [CLS]")], tokenizer)
    assert not {tokenizer.sep_token_id, tokenizer.cls_token_id} & set(pieced.ids.tolist())


def test_windows_are_not_best_cut_within_a_wrapped_line(tokenizer) -> None:
    text = "He has type 2\ndiabetes. Took 5\nmg of it.\nThen rash"
    (pieced,) = make_pieces([TOKENIZER(text)], tokenizer)
    assert [text[pieced.starts[i] :].split()[0] for i in pieced.breaks] == ["Took", "Then"]


def test_specials_stand_where_the_tokenizer_puts_them(tokenizer) -> None:
    specials = Specials(tokenizer)
    assert specials.wrap(np.array([7])).tolist() == [tokenizer.cls_token_id, 7, tokenizer.sep_token_id]
    pair = specials.wrap_pair(np.array([7]), np.array([8, 9])).tolist()
    assert pair.index(7) == 1 and pair[-3:-1] == [8, 9]
    assert len(pair) == specials.pair + 3


@given(st.lists(st.integers(1, 50), max_size=30), st.integers(1, 100))
def test_batches_hold_every_sequence_once_and_keep_to_the_budget(lengths: list[int], budget: int) -> None:
    batches = list(by_budget(lengths, budget))
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.none() | st.integers(1, 300))
def test_what_is_drawn_keeps_to_the_bound_and_leaves_nothing_out_below_it(lengths: list[int], most: int | None) -> None:
    drawn = draw(lengths, most)
    assert len(set(drawn)) == len(drawn) > 0
    assert set(drawn) <= set(range(len(lengths)))
    if most is None or sum(lengths) <= most:
        assert drawn == list(range(len(lengths)))
    else:
        assert len(drawn) == 1 or sum(lengths[i] for i in drawn) <= most


@given(st.lists(st.booleans(), max_size=30), st.none() | st.floats(0, 5))
def test_all_that_is_answered_is_learnt_and_so_much_of_the_rest(answered: list[bool], share: float | None) -> None:
    chosen = sample_unanswered(answered, share)
    assert chosen == sorted(set(chosen))
    assert {i for i, has in enumerate(answered) if has} <= set(chosen)
    without = len(answered) - sum(answered)
    most = without if share is None else min(max(round(share * sum(answered)), 1), without)
    assert sum(not answered[i] for i in chosen) == most


def test_every_sequence_is_drawn_at_some_time_and_by_the_seed() -> None:
    def drawn(seed: int) -> list[list[int]]:
        torch.manual_seed(seed)
        return [draw([10] * 8, 25) for _ in range(60)]

    assert {i for own in drawn(0) for i in own} == set(range(8))
    assert all(len(own) == 2 for own in drawn(0))
    assert drawn(0) == drawn(0) != drawn(1)


def test_groups_are_drawn_from_in_turn_however_many_they_are() -> None:
    groups = ["concepts"] * 2 + ["relations"] * 30
    torch.manual_seed(0)
    seen = set()
    for _ in range(60):
        drawn = draw([10] * 32, 65, groups)
        assert len(drawn) == len(set(drawn)) == 6
        assert sum(groups[i] == "concepts" for i in drawn) == 2
        seen.update(drawn)
    assert seen == set(range(32))
    assert sorted(draw([10] * 32, 320, groups)) == list(range(32))


@pytest.fixture(scope="module")
def beginning_with_a_blank() -> transformers.PreTrainedTokenizerFast:
    """As Llama 2 and the first Mistral have it: before a text, a blank."""
    tokenizer = Tokenizer(models.BPE(unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always", split=False)
    trainer = trainers.BpeTrainer(vocab_size=120, special_tokens=["?"], initial_alphabet=[*"ab1 .\n\t-/mgpoT,5"])
    tokenizer.train_from_iterator(["Took 25mg po for pain.\nThen", "5mg,po pain.Then mg"] * 3, trainer)
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="?")


def test_where_a_text_is_cut_no_blank_is_put(
    beginning_with_a_blank: transformers.PreTrainedTokenizerFast,
) -> None:
    backend = beginning_with_a_blank.backend_tokenizer

    @given(st.text(st.sampled_from("mgpoT 25,.\n-/ab"), max_size=30) | st.just("Took 25mg,po for pain.Then 5mg"))
    @example("po ")  # one piece, with the blank behind it
    @settings(max_examples=200, deadline=None)
    def check(text: str) -> None:
        doc = TOKENIZER(text)
        (pieced,) = make_pieces([doc], beginning_with_a_blank)
        words = [backend.id_to_token(one).replace("▁", " ") for one in pieced.ids.tolist()]
        assert "".join(words).removeprefix(" ") == text.removeprefix(" ")
        for start, end, word in zip(pieced.starts, pieced.ends, words, strict=True):
            # A blank by itself may have the place of what follows.
            assert word.lstrip() in ("", text[start:end])

    check()


# Eight of it are a window each: what is drawn of them has the same loss as all of them.
NOTE = "Took aspirin 25 mg by mouth for pain today . \n\n"


@pytest.fixture(params=["tagger", "mrc", "causal"])
def step(request: pytest.FixtureRequest) -> tuple[Any, Callable[[], float], list[int]]:
    """A model, a step of its training, and the lengths of the sequences that it reads."""
    if request.param == "causal":
        return watched_causal(request.getfixturevalue("tiny_decoder"))
    return watched_encoder(request.param, request.getfixturevalue("tiny_bert"))


def watched_encoder(kind: str, base: str) -> tuple[Any, Callable[[], float], list[int]]:
    architecture = {"tagger": "spacy_clinie.EncoderTagger.v1", "mrc": "spacy_clinie.EncoderMRC.v1"}[kind]
    model = {"@architectures": architecture, **tiny_settings(base, window=64, overlap=4, batch_pieces=200)}
    nlp = spacy.blank("en")
    pipe: Any = nlp.add_pipe("clinie_ner_encoder", config={"model": model})
    gold = nlp.make_doc(NOTE)
    add_concepts(gold, [(1, 2, "Drug", 1.0)])
    examples = [spacy.training.Example(nlp.make_doc(NOTE), gold) for _ in range(8)]
    nlp.initialize(lambda: examples)
    module = modules_of(pipe)[-1]
    read: list[int] = []
    encode = module.encode

    def reads(sequences: Iterable[np.ndarray], **more: Any) -> torch.Tensor:
        held = list(sequences)
        read.extend(map(len, held))
        return encode(held, **more)

    module.encode = reads
    return module, lambda: pipe.update(examples)[pipe.name], read


def test_a_step_reads_step_pieces_and_has_the_loss_of_what_it_read(
    step: tuple[Any, Callable[[], float], list[int]],
) -> None:
    module, learn, read = step
    whole = learn()
    length = read[0]
    assert read == [length] * 8
    module.options["step_pieces"] = 3 * length + 1
    read.clear()
    assert learn() == pytest.approx(whole, rel=0.01)
    assert read == [length] * 3


def test_a_step_reads_one_sequence_even_if_all_are_longer(step: tuple[Any, Callable[[], float], list[int]]) -> None:
    module, learn, read = step
    module.options["step_pieces"] = 1
    learn()
    assert len(read) == 1
