"""The command line: train, generate, data, doctor, bench; what goes wrong ends in a sentence."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from helpers.__main__ import main, parser
from helpers.checkpoint import load_checkpoint, load_model, load_pretrained
from helpers.data import PROMPT
from helpers.generation import stream_text
from helpers.landmarks import landmarks
from helpers.presets import PRESETS
from helpers.training import Run


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a run of six steps at the tiny preset, and what the command printed."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    command = ["train", "--preset", "tiny", "--train-iters", "6", "--batch-size", "4", "--wandb", "disabled", "--device", "cpu"]
    command = [sys.executable, "-m", "helpers", *command, "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def test_train_leaves_checkpoints_log_and_samples(trained):
    """Training writes latest and best checkpoint, log and samples, and says how to go on."""
    out, printed = trained
    assert {f.name for f in out.iterdir()} == {"latest.pt", "best.pt", "log.csv", "samples.txt"}
    assert PROMPT in (out / "samples.txt").read_text(encoding="utf-8")
    assert f"generate --checkpoint {out / 'best.pt'}" in printed


def test_train_prints_the_landmarks_beside_its_loss(trained):
    """Uniform, unigram and bigram stand beside the loss of the model."""
    for name in ("uniform", "unigram", "bigram", "this model", "gzip", "xz"):
        assert f"\n{name}" in trained[1]


def test_train_says_which_device_and_why(trained):
    """The first line names device, threads and number format with the reason."""
    assert trained[1].startswith("cpu with 1 thread(s), ")


def test_a_second_run_is_not_written_over_the_first(trained):
    """The folder of a run is refused without --resume."""
    with pytest.raises(SystemExit, match="already holds a run"):
        main(["train", "--out", str(trained[0]), "--wandb", "disabled"])


def test_runs_without_a_folder_get_new_ones(tmp_path, monkeypatch):
    """Without --out the runs of a preset stand beside one another, and --resume takes the newest."""
    from helpers import __main__ as command_line

    monkeypatch.setattr(command_line, "RUNS", tmp_path)
    with pytest.raises(command_line.CheckpointError, match="no run of 'tiny'"):
        command_line._run_folder("tiny", resume=True)
    for name in ("tiny", "tiny-2"):
        folder = command_line._run_folder("tiny", resume=False)
        assert folder == tmp_path / name
        folder.mkdir()
        (folder / "latest.pt").touch()
    assert command_line._run_folder("tiny", resume=True).name == "tiny-2"


def test_generate_continues_the_prompt(trained, capsys):
    """The same seed gives the same continuation, another seed another one."""
    texts = []
    for seed in ("1", "1", "2"):
        main(
            ["generate", "--checkpoint", str(trained[0] / "best.pt"), "--prompt", PROMPT, "--seed", seed, "--max-tokens", "20"]
        )
        texts.append(capsys.readouterr().out)
    assert texts[0].startswith(PROMPT) and len(texts[0]) > len(PROMPT) + 5
    assert texts[0] == texts[1] != texts[2]


def test_generate_takes_the_shipped_model(capsys):
    """Without --checkpoint the model that ships with the course answers."""
    main(["generate", "--prompt", PROMPT, "--greedy", "--max-tokens", "3"])
    model, tokenizer = load_pretrained()
    expected = "".join(stream_text(model, tokenizer, PROMPT, 3, greedy=True))
    assert capsys.readouterr().out == PROMPT + expected + "\n"


def test_export_writes_a_model_that_loads(trained, tmp_path, capsys):
    """`export` turns a checkpoint into a folder from which the same model comes, in bfloat16 precision."""
    main(["export", "--checkpoint", str(trained[0] / "best.pt"), "--out", str(tmp_path / "model")])
    assert f"Exported to {tmp_path / 'model'}" in capsys.readouterr().out
    model, _ = load_pretrained(folder=tmp_path / "model")
    original, _ = load_model(trained[0] / "best.pt")
    for name, p in original.state_dict().items():
        assert torch.equal(model.state_dict()[name], p.bfloat16().float()), name


def test_an_interrupted_run_is_saved_and_not_evaluated(articles_file, tmp_path, monkeypatch, capsys):
    """Ctrl-C gives the prompt back after the step: no table, which can take minutes, only the word how to go on."""

    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, "train_step", interrupted)
    main(["train", "--data", str(articles_file), "--set", "vocab_size=320", "--out", str(tmp_path), "--wandb", "disabled"])
    printed = capsys.readouterr()
    assert "uniform" not in printed.out and "go on with --resume" in printed.out + printed.err


@pytest.mark.parametrize(
    "setting, sentence",
    [("width=3", "there is no setting 'width'"), ("dropout", "write a number"), ("dropout=high", "write a number")],
)
def test_set_refuses_what_is_no_setting(setting, sentence):
    """--set names the settings there are, and asks for a number."""
    with pytest.raises(SystemExit, match=sentence):
        main(["train", "--set", setting])


def test_set_changes_model_and_training(corpus, articles_file, tmp_path):
    """--set reaches every setting of the model and of its training."""
    out = tmp_path / "run"
    small = ["embed_size=16", "n_layers=1", "n_heads=2", "context=8", "vocab_size=320", "betas=(0.5,0.6)", "eval_batches=1"]
    main(
        ["train", "--data", str(articles_file), "--train-iters", "2", "--out", str(out), "--wandb", "disabled", "--set", *small]
    )
    state = load_checkpoint(out / "latest.pt")
    assert (state["model_config"]["embed_size"], state["train_config"]["betas"]) == (16, (0.5, 0.6))


def test_generate_without_a_prompt_is_interactive(trained, monkeypatch, capsys):
    """Prompts are asked for until an empty line."""
    answers = iter([PROMPT, ""])
    monkeypatch.setattr("builtins.input", lambda _: next(answers))
    main(["generate", "--checkpoint", str(trained[0] / "best.pt"), "--max-tokens", "3"])
    assert PROMPT in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--prompt", ""], "The prompt is empty"),
        (["--prompt", PROMPT, "--temperature", "0"], "temperature must be above 0"),
        (["--prompt", PROMPT, "--top-p", "2"], "top_p must be"),
        (["--prompt", PROMPT, "--device", "abacus"], "no device 'abacus'"),
    ],
)
def test_bad_settings_of_generate(trained, options, sentence):
    """Each bad setting ends in its sentence."""
    with pytest.raises(SystemExit, match=sentence):
        main(["generate", "--checkpoint", str(trained[0] / "best.pt"), *options])


def test_long_and_foreign_prompts_are_noted(trained, capsys):
    """A prompt longer than the context, or in another script, is continued with a note."""
    checkpoint = ["generate", "--checkpoint", str(trained[0] / "best.pt"), "--max-tokens", "2", "--prompt"]
    main([*checkpoint, PROMPT * 50])
    assert "sees only the last 128" in capsys.readouterr().err
    main([*checkpoint, "山は高い"])
    assert "hardly met" in capsys.readouterr().err


def test_a_missing_checkpoint_or_corpus_is_a_sentence(tmp_path):
    """Files that are not there are named."""
    with pytest.raises(SystemExit, match=r"nowhere\.pt cannot be read"):
        main(["generate", "--checkpoint", str(tmp_path / "nowhere.pt"), "--prompt", PROMPT])
    with pytest.raises(SystemExit, match="There is no data at"):
        main(["train", "--data", str(tmp_path / "nowhere.txt"), "--out", str(tmp_path / "run")])


def test_data_shows_manifest_and_landmarks(capsys):
    """`data` prints where a corpus comes from and what simple predictors reach on it."""
    main(["data", "encyclopedia"])
    printed = capsys.readouterr().out
    assert '"articles"' in printed and "unigram" in printed


def test_data_trains_a_tokenizer(articles_file, tmp_path, capsys):
    """`data --train-tokenizer` writes a SentencePiece model of the size asked for."""
    from helpers.tokenizer import Tokenizer

    out = tmp_path / "own.model"
    main(["data", str(articles_file), "--train-tokenizer", "--vocab-size", "320", "--out", str(out)])
    assert Tokenizer.load(out).vocab_size == 320


@pytest.mark.parametrize(
    "command", ["train", "generate", "evaluate", "export", "data", "doctor", "grade", "slides", "handout", "site", "bench"]
)
def test_every_option_is_explained(command, capsys):
    """--help of each command names a purpose, and no option goes without a word."""
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0 and len(capsys.readouterr().out) > 100
    commands = next(a for a in parser()._actions if a.choices and command in a.choices)
    assert all(action.help for action in commands.choices[command]._actions)


def test_presets():
    """The presets are those of the course; the full one keeps the reference recipe, the full+ one its model and tokens."""
    full = PRESETS["full"]
    assert list(PRESETS) == ["tiny", "laptop", "full", "full+"]
    model, training = full.model, full.training
    assert (model.n_layers, model.n_heads, model.embed_size, model.context, model.vocab_size) == (7, 7, 384, 512, 8192)
    assert (training.batch_size, training.train_iters, training.lr, training.lr_floor) == (8, 100_000, 3e-4, 0.1)
    assert (training.betas, training.weight_decay, training.grad_clip, model.dropout) == ((0.9, 0.99), 0.01, 1.0, 0.05)
    plus = PRESETS["full+"]
    assert plus.model == replace(model, dropout=plus.model.dropout) and plus.data == full.data
    assert plus.training.batch_size * plus.training.train_iters == 800_000


def test_landmarks_are_ordered_and_exact(corpus):
    """Uniform is ln V; each landmark knows more than the one before; the unigram equals a count by hand."""
    import math
    from collections import Counter

    values = landmarks(corpus)
    assert values["uniform"] == pytest.approx(math.log(320))
    assert values["uniform"] > values["unigram"] > values["bigram"] > 0
    counts, n = Counter(corpus.train.tolist()), len(corpus.train)
    by_hand = [-math.log((counts[t] + 1) / (n + 320)) for t in corpus.validation.tolist()[1:]]
    assert values["unigram"] == pytest.approx(sum(by_hand) / len(by_hand))
