"""The model that ships: complete, refused when damaged, and equal to an independent GPT-2 with its weights."""

import csv
import json
import re

import pytest
import torch
from test_parity import gpt2_like
from torch.testing import assert_close

from helpers.checkpoint import PRETRAINED, CheckpointError, export_pretrained, load_pretrained
from helpers.data import PROMPT, is_validation, read_articles, source_files
from helpers.device import pick_device
from helpers.evaluation import text_loss
from helpers.generation import generate
from helpers.recipe import TrainConfig
from helpers.training import Run


@pytest.fixture(scope="module")
def shipped():
    """The shipped model and its tokenizer."""
    return load_pretrained()


@pytest.fixture
def folder(small_config, corpus, cpu, tmp_path):
    """A small model, exported."""
    run = Run(small_config, TrainConfig(batch_size=2, train_iters=10), corpus, tmp_path, cpu)
    run.train_step()
    run.save("best.pt")
    export_pretrained(tmp_path / "best.pt", tmp_path / "model")
    return tmp_path / "model"


def test_the_shipped_model_is_the_reference_model(shipped):
    """19,833,858 parameters, in one file under 45 MB, with a tied head and the tokenizer of 8,192 tokens."""
    model, tokenizer = shipped
    assert model.n_parameters() == 19_833_858 and tokenizer.vocab_size == 8192
    assert model.head.weight is model.token_embedding.weight and not model.training
    assert (PRETRAINED / "model.safetensors").stat().st_size < 45e6


def test_the_shipped_model_equals_an_independent_gpt2(shipped):
    """Its logits on the prompt and on a whole context equal those of GPT-2 with its weights, to 1e-3."""
    model, tokenizer = shipped
    gpt2 = gpt2_like(model)
    for ids in (torch.tensor([tokenizer.encode(PROMPT)]), torch.randint(8192, (1, 512))):
        with torch.no_grad():
            logits, expected = model(ids), gpt2(ids).logits
        assert expected.std() > 0.5
        assert_close(logits, expected, rtol=0, atol=1e-3)


def test_the_shipped_model_with_cache_says_what_it_says_without(shipped):
    """Greedy and sampled, forty tokens after the prompt are the same with the KV cache and without."""
    model, tokenizer = shipped
    idx = torch.tensor([tokenizer.encode(PROMPT)])
    for options in ({"greedy": True}, {"seed": 3, "temperature": 0.8}):
        assert torch.equal(generate(model, idx, 40, **options), generate(model, idx, 40, use_cache=False, **options))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.model"])
def test_a_missing_or_damaged_file_is_refused(folder, name):
    """Each file, missing or cut short, and weights or tokenizer with one bit changed, are refused by name."""
    path, content = folder / name, (folder / name).read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    for damaged in (content[: len(content) // 2], bytes(flipped))[: 1 if name == "config.json" else 2]:
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=re.escape(str(folder))):
            load_pretrained(folder=folder)
    path.unlink()
    with pytest.raises(CheckpointError, match=f"{name}.*cannot be read"):
        load_pretrained(folder=folder)


def test_another_models_configuration_is_refused(folder):
    """Weights that do not have the shapes of the configuration, and a configuration that is none, are refused."""
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**config, "model_config": {**config["model_config"], "n_layers": 3}}), encoding="utf-8")
    with pytest.raises(CheckpointError, match="do not fit together"):
        load_pretrained(folder=folder)
    path.write_text("[]", encoding="utf-8")
    with pytest.raises(CheckpointError, match="does not hold a model"):
        load_pretrained(folder=folder)


def test_log_samples_and_card_belong_to_the_shipped_model():
    """The log ends where the configuration says, with falling losses; a sample for each of its rows; ten in the card."""
    config = json.loads((PRETRAINED / "config.json").read_text(encoding="utf-8"))
    with open(PRETRAINED / "log.csv", encoding="utf-8") as f:
        rows = list(csv.DictReader(f))
    steps = [int(row["iteration"]) for row in rows]
    assert steps[0] == 0 and steps == sorted(set(steps)) and steps[-1] == config["step"]
    assert {"train_loss", "val_loss", "lr", "grad_norm", "tokens_per_s"} <= set(rows[0])
    losses = [float(row["val_loss"]) for row in rows]
    assert losses[-1] == min(losses) < losses[0] - 4
    samples = (PRETRAINED / "samples.txt").read_text(encoding="utf-8")
    assert [int(n) for n in re.findall(r"^\[(\d+)\] The mountain in my city is", samples, re.MULTILINE)] == steps
    card = (PRETRAINED / "README.md").read_text(encoding="utf-8")
    assert f"{config['step']:,} steps" in card and "19,833,858" in card and "CC BY-SA" in card
    assert len(re.findall(r"^\d\. The mountain in my city is", card, re.MULTILINE)) == 10


def test_the_shipped_model_reads_the_encyclopedia_better_than_a_bigram_counted_on_it(shipped):
    """On text of another source than its own it needs fewer bits per byte than the bigram of that very text: 1.995."""
    model, tokenizer = shipped
    articles = [a for a in read_articles(source_files("encyclopedia")) if is_validation(a)][:40]
    assert text_loss(model, tokenizer, articles, pick_device("cpu", "float32"))["bits_per_byte"] < 1.9
