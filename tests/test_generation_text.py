"""Drawing tokens, stopping, streaming text, and the interactive mode (notebook 06)."""

import dataclasses
import itertools
import re

import pytest
import torch

from helpers.generation import generate, interactive, prompt_notes, stream_text, stream_tokens
from helpers.gpt import GPT, GPTConfig
from helpers.tokenizer import train_tokenizer

EMOJI = [f"<0x{byte:02X}>" for byte in "🙂".encode()]  # the pieces of one character of four bytes


def prompts(B, T, vocab_size=320):
    """B random prompts of T tokens."""
    return torch.randint(vocab_size, (B, T), generator=torch.Generator().manual_seed(100 * B + T))


@pytest.fixture(scope="module")
def tokenizer(articles_file):
    """A tokenizer with the vocabulary of small_model."""
    return train_tokenizer([articles_file.read_text(encoding="utf-8")], 320)


def chain(successor, vocab_size=320):
    """A GPT in which token t is followed by successor[t], or by itself if it has none."""
    model = GPT(GPTConfig(vocab_size, context=16, embed_size=vocab_size, n_layers=1, n_heads=1)).eval()
    model.head = torch.nn.Linear(vocab_size, vocab_size, bias=False)
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
        model.norm.weight.fill_(1.0)
        model.token_embedding.weight.copy_(torch.eye(vocab_size))
        for t in range(vocab_size):
            model.head.weight[successor.get(t, t), t] = 1.0
    return model


def speaker(tokenizer, prompt, pieces):
    """A model that continues prompt with these pieces, all different."""
    ids = [tokenizer.encode(prompt)[-1], *map(tokenizer.sp.piece_to_id, pieces)]
    return chain(dict(itertools.pairwise(ids)))


def type_in(monkeypatch, *lines):
    """Let input() return these lines one by one; an exception among them is raised."""
    answers = iter(lines)

    def scripted(prompt=""):
        answer = next(answers)
        if isinstance(answer, type):
            raise answer
        return answer

    monkeypatch.setattr("builtins.input", scripted)
    return answers


def converse(*args, **options):
    """Run interactive(); a Ctrl-C that it lets through fails the test instead of ending pytest."""
    try:
        interactive(*args, **options)
    except KeyboardInterrupt:
        pytest.fail("Ctrl-C came out of interactive().")


# Drawing and stopping


@pytest.mark.parametrize("repetition_penalty", [1.0, 1.5])
def test_greedy_equals_top_k_of_one(small_model, repetition_penalty):
    """The most likely token every time, and a draw from the one most likely, are the same text."""
    idx, options = prompts(3, 4), {"repetition_penalty": repetition_penalty}
    greedy = generate(small_model, idx, 30, greedy=True, **options)
    assert torch.equal(greedy, generate(small_model, idx, 30, top_k=1, **options))


def test_seed_makes_the_draw_repeatable(small_model):
    """The same seed gives the same tokens, another seed others; without a seed every run differs."""
    idx = prompts(2, 4)
    one, again, other = (generate(small_model, idx, 40, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one, again) and not torch.equal(one, other)
    torch.manual_seed(0)
    free = generate(small_model, idx, 40)
    torch.manual_seed(0)
    assert not torch.equal(free, generate(small_model, idx, 40))


@pytest.mark.parametrize("seed", [None, 3])
def test_global_random_state_is_left_alone(small_model, seed):
    """Sampling, with a seed or without, neither uses nor sets the random state of torch."""
    before = torch.random.get_rng_state()
    generate(small_model, prompts(2, 4), 20, seed=seed)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_dropout_is_off_while_generating_and_back_on_afterwards(small_config):
    """A model in training mode generates as in evaluation mode, and is in training mode again afterwards."""
    model = GPT(dataclasses.replace(small_config, dropout=0.5))
    expected = generate(model.eval(), prompts(2, 4), 20, greedy=True)
    assert not model.training
    assert torch.equal(generate(model.train(), prompts(2, 4), 20, greedy=True), expected)
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("training", [True, False])
def test_mode_is_restored_when_the_reader_stops_early(small_model, training):
    """Closing the stream after a token, or an error in the model, leaves model.training as it was."""
    tokens = stream_tokens(small_model.train(training), prompts(1, 4), 20)
    next(tokens)
    tokens.close()
    assert small_model.training is training
    with pytest.raises(IndexError):
        generate(small_model, torch.tensor([[10**6]]), 5)
    assert small_model.training is training


def test_finished_rows_repeat_the_stop_token_while_others_go_on():
    """A row that met the stop token repeats it; generation ends, before max_tokens, when all rows have."""
    stop, model = 9, chain({1: 9, 9: 5, 2: 3, 3: 4, 4: 6, 6: 9, 7: 8, 8: 9}, vocab_size=12)
    idx = torch.tensor([[1], [2], [7]])
    expected = [[1, 9, 9, 9, 9], [2, 3, 4, 6, 9], [7, 8, 9, 9, 9]]
    assert generate(model, idx, 50, stop=stop, greedy=True).tolist() == expected
    assert generate(model, idx, 3, stop=stop, greedy=True).tolist() == [row[:4] for row in expected]
    assert generate(model, idx, 3, greedy=True).tolist() == [[1, 9, 5, 5], [2, 3, 4, 6], [7, 8, 9, 5]]


def test_max_tokens_is_the_number_of_tokens(small_model):
    """max_tokens = 0 gives the prompt back; n gives n tokens, one (B, 1) tensor at a time."""
    idx = prompts(3, 4)
    assert list(stream_tokens(small_model, idx, 0)) == [] and torch.equal(generate(small_model, idx, 0), idx)
    tokens = list(stream_tokens(small_model, idx, 20, seed=1))
    assert [token.shape for token in tokens] == [(3, 1)] * 20
    assert torch.equal(torch.cat([idx, *tokens], dim=1), generate(small_model, idx, 20, seed=1))


@pytest.mark.parametrize("idx", [torch.zeros(2, 0, dtype=torch.long), torch.zeros(4, dtype=torch.long)])
def test_idx_without_a_token_to_continue_is_refused(small_model, idx):
    """idx of shape (B, 0), or without a batch dimension, raises ValueError with its shape."""
    with pytest.raises(ValueError, match=rf"idx must be \(B, T\).*{re.escape(str(tuple(idx.shape)))}"):
        generate(small_model, idx, 1)


# Text


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("prompt", ["The mountain", "the river\nThe old", "é " * 20], ids=ascii)
def test_streamed_pieces_joined_are_the_decoded_tokens(small_model, tokenizer, prompt, seed):
    """What is streamed, joined, equals the decoded tokens of generate; only the last piece may end in half a character."""
    pieces = list(stream_text(small_model, tokenizer, prompt, 60, seed=seed))
    idx = torch.tensor([tokenizer.encode(prompt)])
    ids = generate(small_model, idx, 60, seed=seed, stop=tokenizer.end_id)[0].tolist()
    assert prompt + "".join(pieces) == tokenizer.decode(ids)
    assert not any(piece.endswith("\ufffd") for piece in pieces[:-1])


def test_a_character_of_several_bytes_is_shown_once_and_whole(tokenizer):
    """Of a character of four byte tokens nothing is shown before the last; the end-of-article token ends the text."""
    model = speaker(tokenizer, "city", [*EMOJI, "▁h", "ou", "s", "<end>", "P"])
    assert [piece for piece in stream_text(model, tokenizer, "city", 50, greedy=True) if piece] == ["🙂", " h", "ou", "s"]
    assert set("".join(stream_text(model, tokenizer, "city", 2, greedy=True))) == {"\ufffd"}


def test_a_prompt_longer_than_the_context_is_continued_from_its_end(tokenizer):
    """The last tokens of a long prompt decide; a note says how many tokens it has and how many the model sees."""
    prompt = "the old stone city is near the river city"
    model, n = speaker(tokenizer, prompt, ["▁h", "ou", "s", "<end>"]), len(tokenizer.encode(prompt))
    assert "".join(stream_text(model, tokenizer, prompt, greedy=True)) == " hous"
    assert prompt_notes(model, tokenizer, prompt) == [f"The prompt has {n} tokens; the model sees only the last 16."]


def test_notes_on_a_prompt_in_another_script_and_on_an_ordinary_one(small_model, tokenizer):
    """A prompt in characters that the model hardly knows is noted; an ordinary prompt is not."""
    assert "characters that this model has hardly met" in " ".join(prompt_notes(small_model, tokenizer, "山は高い"))
    assert prompt_notes(small_model, tokenizer, "the city is") == []


@pytest.mark.parametrize("prompt", ["", "  ", "\n\t "])
def test_an_empty_prompt_is_refused_with_an_example(small_model, tokenizer, prompt):
    """A prompt of nothing but spaces raises ValueError with a sentence that shows what a prompt looks like."""
    with pytest.raises(ValueError, match=r"prompt is empty.*The mountain in my city is"):
        next(stream_text(small_model, tokenizer, prompt))


def test_a_vocabulary_of_another_size_is_refused(tokenizer):
    """A model and a tokenizer that do not belong together raise ValueError with both sizes."""
    with pytest.raises(ValueError, match="vocabulary of 100 tokens, the tokenizer one of 320"):
        next(stream_text(chain({}, vocab_size=100), tokenizer, "the city"))


# Interactive


def test_interactive_continues_each_prompt_until_an_empty_line(tokenizer, monkeypatch, capsys):
    """Each prompt is shown with its continuation, long ones with a note; an empty line ends the session."""
    model = speaker(tokenizer, "city", ["▁h", "ou", "s", "<end>"])
    prompts_left = type_in(monkeypatch, "the city", "the old stone city of the river city", " ", "not asked for")
    converse(model, tokenizer, greedy=True)
    shown = capsys.readouterr().out
    assert "the city hous\n" in shown and "the river city hous\n" in shown and shown.count("sees only the last 16") == 1
    assert list(prompts_left) == ["not asked for"]


@pytest.mark.parametrize("end", [EOFError, KeyboardInterrupt])
def test_interactive_ends_quietly_at_the_end_of_input(small_model, tokenizer, monkeypatch, end):
    """Ctrl-D and Ctrl-C at the prompt end the session without a traceback."""
    prompts_left = type_in(monkeypatch, end, "not asked for")
    converse(small_model, tokenizer)
    assert list(prompts_left) == ["not asked for"]


def test_interrupting_a_text_shows_what_was_written_and_restores_the_model(tokenizer, monkeypatch, capsys):
    """Ctrl-C in the middle of a text ends it without a traceback; model.training is as it was."""
    model = speaker(tokenizer, "city", ["▁h", "ou", "s", "<end>"]).train()
    hidden, calls = model.hidden, iter([1, 2])

    def interrupted(idx, cache=None):
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return hidden(idx, cache)

    monkeypatch.setattr(model, "hidden", interrupted)
    type_in(monkeypatch, "the city", "")
    converse(model, tokenizer, greedy=True)
    assert "the city hou\n" in capsys.readouterr().out and model.training
