"""What the tests share: one thread, a cache of their own, a small corpus and a small model."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch starts its threads: two cores are shared by several tests
os.environ.setdefault("WANDB_MODE", "offline")

import pytest
import torch
from articles import write_articles

from helpers.device import Device
from helpers.gpt import GPT, GPTConfig


def pytest_terminal_summary(terminalreporter):
    """Print the tables that tests recorded as the property "table", also when they ran in other processes."""
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            for name, value in report.user_properties:
                if name == "table":
                    terminalreporter.section(report.nodeid)
                    terminalreporter.write_line(value)


@pytest.fixture(autouse=True)
def _quiet_machine(tmp_path_factory, monkeypatch):
    """One thread, a fixed seed, and downloads and token files in a temporary folder."""
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def articles_file(tmp_path_factory):
    """A text file of 120 short articles."""
    return write_articles(tmp_path_factory.mktemp("articles") / "places.txt")


@pytest.fixture
def corpus(articles_file):
    """The articles as a `Corpus` with a vocabulary of 320 tokens."""
    from helpers.data import load_corpus

    return load_corpus(articles_file, vocab_size=320)


@pytest.fixture
def cpu():
    """The CPU in float32, whatever it could do better."""
    return Device("cpu", torch.float32, 1, "for tests")


@pytest.fixture
def small_config():
    """A model small enough to train in a second; its width is no multiple of its heads, as in the full model."""
    return GPTConfig(vocab_size=320, context=16, embed_size=24, n_layers=2, n_heads=5, dropout=0.0)


@pytest.fixture
def small_model(small_config):
    """The small model, in evaluation mode, with weights large enough that every part matters."""
    torch.manual_seed(1)
    model = GPT(small_config).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return model
