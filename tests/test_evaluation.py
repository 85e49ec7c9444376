"""Evaluation of a trained model: its loss on a text against a slow loop, and the search for copied passages."""

import lzma
import math

import pytest
import torch

from helpers.__main__ import main
from helpers.data import read_text
from helpers.evaluation import longest_copies, text_loss
from helpers.recipe import TrainConfig
from helpers.training import Run


@pytest.fixture
def run(small_config, corpus, cpu, tmp_path):
    """A run after three steps, saved as best.pt."""
    run = Run(small_config, TrainConfig(batch_size=2, train_iters=10, lr=0.1), corpus, tmp_path, cpu)
    for _ in range(3):
        run.train_step()
    run.save("best.pt")
    return run


def test_text_loss_equals_a_slow_loop(run, corpus, cpu):
    """Token by token over the whole windows of 16; bits per byte are total bits over the bytes of the texts."""
    texts = ["The hill is old.\nIt is high.", "A town. " * 9]
    ids = [i for text in texts for i in [*corpus.tokenizer.encode(text), corpus.tokenizer.end_id]]
    losses = []
    run.model.eval()
    for start in range(0, len(ids) - 16, 16):
        for t in range(16):
            with torch.no_grad():
                logits = run.model(torch.tensor([ids[start : start + t + 1]]))[0, -1]
            losses.append(-logits.log_softmax(-1)[ids[start + t + 1]].item())
    result = text_loss(run.model, corpus.tokenizer, texts, cpu)
    mean, n_bytes = sum(losses) / len(losses), sum(map(len, texts))
    assert result["loss"] == pytest.approx(mean, rel=1e-5) and result["perplexity"] == pytest.approx(math.exp(mean), rel=1e-5)
    assert (result["tokens"], result["bytes"]) == (len(ids), n_bytes)
    assert result["bits_per_byte"] == pytest.approx(mean * len(ids) / math.log(2) / n_bytes, rel=1e-5)


def test_longest_copies():
    """The longest run of words is found over line breaks, case and punctuation; short ones, and none, are empty."""
    articles = ["Rivers\nThe river runs, to the SEA in spring.", "Seas\nA sea is wide and deep, and cold."]
    passages = ["They say the river runs to the sea", "a sea is wide and deep and warm, the river runs to", "wide and deep", ""]
    assert longest_copies(passages, articles) == ["the river runs to the sea", "a sea is wide and deep and", "", ""]


def test_evaluate_command(run, articles_file, corpus, cpu, tmp_path, capsys):
    """The command measures the held-out articles, or a whole text, and shows samples with their copies."""
    main(["evaluate", str(articles_file), "--checkpoint", str(tmp_path / "best.pt"), "--device", "cpu", "--samples", "2"])
    printed = capsys.readouterr().out
    counts = corpus.manifest["parts"]["validation"]
    assert f"tokens {counts['tokens']:,}" in printed and f"bytes {counts['bytes']:,}" in printed
    assert printed.count("longest copy:") == 2 and "[seed 1] The mountain in my city is" in printed
    text = tmp_path / "text.txt.xz"
    text.write_bytes(lzma.compress("One text.\r\n\r\nAll of it, é. ".encode() * 20))
    assert read_text(text) == "One text.\r\n\r\nAll of it, é. " * 20
    main(["evaluate", str(text), "--whole", "--checkpoint", str(tmp_path / "best.pt"), "--device", "cpu"])
    assert f"bytes {20 * 28:,}" in capsys.readouterr().out
