"""helpers.data.Batches: shuffled windows whose number is the whole position (notebook 05, "Batches")."""

import numpy as np
import pytest
import torch

from helpers.data import Batches, read_articles

TOKENS = np.arange(1000, 1100, dtype=np.uint16)  # every token is different, so that a window shows where it lies
CONTEXT, WINDOWS = 8, 11  # (100 - 8) // 8 windows in an epoch


def epoch_of(batches, epoch):
    """The first tokens of all windows in an epoch, in order; batches of one row."""
    return [int(batches.get(i)[0][0, 0]) for i in range(epoch * WINDOWS, (epoch + 1) * WINDOWS)]


def test_a_batch_is_inputs_and_the_tokens_after_them():
    """Inputs and targets are (B, T) int64, T consecutive tokens each, the targets one token later."""
    for i in range(50):
        inputs, targets = Batches(TOKENS, CONTEXT, 3).get(i)
        assert inputs.shape == targets.shape == (3, CONTEXT)
        assert inputs.dtype == targets.dtype == torch.int64
        assert torch.equal(inputs, inputs[:, :1] + torch.arange(CONTEXT))
        assert torch.equal(targets, inputs + 1)


def test_batch_i_is_always_the_same():
    """Whatever was asked for before, in this object or another, batch i is the same: its number is the whole position."""
    order = [7, 0, 90, 7, 31, 90, 0]
    batches = Batches(TOKENS, CONTEXT, 3, seed=5)
    for i in order:
        assert torch.equal(batches.get(i)[0], Batches(TOKENS, CONTEXT, 3, seed=5).get(i)[0])


@pytest.mark.parametrize("epoch", [0, 1, 17])
def test_an_epoch_covers_every_window_once(epoch):
    """The windows of an epoch do not overlap, leave no gap between them, and are all there."""
    starts = sorted(epoch_of(Batches(TOKENS, CONTEXT, 1), epoch))
    assert len(starts) == WINDOWS
    assert np.diff(starts).tolist() == [CONTEXT] * (WINDOWS - 1)
    assert starts[0] - 1000 < CONTEXT


def test_an_epoch_may_end_within_a_batch():
    """Batches larger than what is left, even than an epoch, go on with the next epoch: no window is lost."""
    one = Batches(TOKENS, CONTEXT, 1)
    for size in (4, 30):
        rows = torch.cat([Batches(TOKENS, CONTEXT, size).get(i)[0] for i in range(5)])
        assert torch.equal(rows, torch.cat([one.get(i)[0] for i in range(5 * size)]))


def test_epochs_and_seeds_differ():
    """Each epoch has another order, the cuts move between epochs, and another seed gives other batches."""
    batches = Batches(TOKENS, CONTEXT, 1)
    epochs = [epoch_of(batches, epoch) for epoch in range(12)]
    assert len(set(map(tuple, epochs))) == 12
    assert len({min(epoch) for epoch in epochs}) > 3
    assert epochs[0] != sorted(epochs[0])
    assert epochs[:3] != [epoch_of(Batches(TOKENS, CONTEXT, 1, seed=1), epoch) for epoch in range(3)]


def test_the_global_random_state_plays_no_part():
    """Batches neither use nor change the random states that dropout draws from."""
    torch.manual_seed(3)
    state, first = torch.get_rng_state(), Batches(TOKENS, CONTEXT, 3).get(2)[0]
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(4)
    np.random.seed(4)
    assert torch.equal(Batches(TOKENS, CONTEXT, 3).get(2)[0], first)


@pytest.mark.parametrize("length", [16, 17, 23, 24, 25, 31, 32])
def test_windows_stay_within_the_array(length):
    """Whatever the length and the offset, a window and its last target lie in the array, and every place comes up."""
    batches, starts = Batches(TOKENS[:length], CONTEXT, 1), set()
    for i in range(60 * batches.n_windows):
        inputs, targets = batches.get(i)
        starts.add(int(inputs[0, 0]) - 1000)
        assert targets.max() < 1000 + length and len(targets[0]) == CONTEXT
    assert starts <= set(range(length - CONTEXT))
    assert set(range(CONTEXT)) <= starts


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_one_larger_batch(world):
    """The rows of all processes together are the rows of one process with a batch that many times as large."""
    one = Batches(TOKENS, CONTEXT, 4 * world, seed=2)
    parts = [Batches(TOKENS, CONTEXT, 4, seed=2, rank=rank, world=world) for rank in range(world)]
    for i in range(10):
        inputs, targets = one.get(i)
        assert torch.equal(torch.cat([part.get(i)[0] for part in parts]), inputs)
        assert torch.equal(torch.cat([part.get(i)[1] for part in parts]), targets)


def test_other_devices_get_the_same_batches():
    """With the corpus in the memory of a device the batches are those that a CPU reads from the disk."""
    elsewhere = Batches(TOKENS, CONTEXT, 4, device=torch.device("cpu"))  # not the string "cpu": takes the other way
    assert isinstance(elsewhere.tokens, torch.Tensor)
    for i in range(5):
        for a, b in zip(elsewhere.get(i), Batches(TOKENS, CONTEXT, 4).get(i), strict=True):
            assert torch.equal(a, b) and a.dtype == b.dtype


@pytest.mark.parametrize("length", [0, 5, 15])
def test_too_few_tokens_get_a_sentence(length):
    """Too few tokens for one window at any offset are refused, with both numbers and what to change."""
    with pytest.raises(ValueError, match=f"^{length} tokens are too few for windows of 8: take more text or a shorter context"):
        Batches(TOKENS[:length], CONTEXT, 1)


def decoded(corpus, part):
    """The articles of a part of the corpus, decoded from its tokens."""
    tokens = np.array(getattr(corpus, part), dtype=np.int64)
    assert tokens[-1] == corpus.tokenizer.end_id
    return [corpus.tokenizer.decode(ids) for ids in np.split(tokens, np.where(tokens == corpus.tokenizer.end_id)[0] + 1)[:-1]]


def test_training_and_validation_never_mix(corpus, articles_file):
    """The parts are files of their own; each article is in exactly one of them, whole, and none is lost."""
    assert corpus.train.filename != corpus.validation.filename
    train, validation = decoded(corpus, "train"), decoded(corpus, "validation")
    assert sorted(train + validation) == sorted(read_articles([articles_file]))
    assert validation and not set(train) & set(validation)
    text = "\n".join(train)
    assert not [line for article in validation for line in article.split("\n")[1:] if line in text]


def test_training_windows_hold_no_validation_text(corpus, small_config):
    """An epoch of training windows, decoded, holds no title of a validation article."""
    batches = Batches(corpus.train, small_config.context, 1)
    windows = [corpus.tokenizer.decode(batches.get(i)[0][0].tolist()) for i in range(batches.n_windows)]
    titles = [article.split("\n")[0] + "\n" for article in decoded(corpus, "validation")]
    assert not [window for window in windows for title in titles if title in window]
    assert any("Place" in window for window in windows)
