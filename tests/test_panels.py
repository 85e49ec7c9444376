"""The live panels, driven without a browser: what a slider changes, what stays where no widgets run."""

import asyncio
import base64
import io
import re

import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib.image import imread

from helpers import panels
from helpers.panels import AttentionView, GenerationPanel, attention_view, generation_panel
from helpers.tokenizer import train_tokenizer

TOKENS = ["The", "mountain", "<in>", '"my"', "\n", "is"]
WIDGET = "application/vnd.jupyter.widget-view+json"


@pytest.fixture
def weights():
    """Three layers of two heads over six tokens, all of them different."""
    torch.manual_seed(0)
    return torch.randn(3, 2, 6, 6).softmax(-1)


def picture(view):
    """Return the bytes of the PNG that the view shows now, and its alt text."""
    alt, data = re.fullmatch(r'<img alt="(.*)" src="data:image/png;base64,(.*)">', view.picture.value).groups()
    return base64.b64decode(data), alt


def test_the_sliders_choose_the_head(weights):
    """Each of the six heads has a picture of its own, with an alt text that names it, and one can go back."""
    view = AttentionView(weights, TOKENS)
    seen = {}
    for layer in (1, 2, 3):
        for head in (1, 2):
            view.layer.value, view.head.value = layer, head
            png, alt = picture(view)
            assert imread(io.BytesIO(png)).shape[0] > 100
            assert alt.startswith(f"Layer {layer}, head {head}: ")
            share, most = weights[layer - 1, head - 1, -1].max(0)
            assert alt.endswith(f"{share:.2f}.") and TOKENS[most].strip('<>"\n') in alt
            seen[layer, head] = png
    assert len(set(seen.values())) == 6
    view.layer.value, view.head.value = 1, 1
    assert picture(view)[0] == seen[1, 1]


def test_the_sliders_end_at_the_last_layer_and_head(weights):
    """They count from 1, and a value beyond the end is the end."""
    view = AttentionView(weights, TOKENS)
    assert (view.layer.min, view.layer.max, view.head.min, view.head.max) == (1, 3, 1, 2)
    view.layer.value = 99
    assert view.layer.value == 3


def test_one_output_holds_the_live_view_a_static_picture_and_its_text(weights, monkeypatch):
    """Without widgets the picture of all heads remains, and without pictures the text, which states the weights."""
    shown = []
    monkeypatch.setattr(panels, "display", lambda *args, **kwargs: shown.append((args, kwargs)))
    assert attention_view(weights, TOKENS) is None
    ((data,), options), alone = shown[0], len(shown) == 1
    alt = data["text/plain"]
    assert alone and options["raw"] and set(data) == {WIDGET, "image/png", "text/plain"}
    assert options["metadata"] == {"alt": alt, "image/png": {"alt": alt}}
    assert "3 layers of 2 heads each over 6 tokens" in alt and f"is {weights[:, :, -1, -1].mean():.2f}." in alt
    height, width, _ = imread(io.BytesIO(base64.b64decode(data["image/png"]))).shape
    assert height > 300 and width > 300
    assert data[WIDGET]["model_id"]


def test_the_picture_is_the_same_every_time_and_leaves_no_figure_open(weights):
    """A saved notebook does not change when it is executed again."""
    first, second = (AttentionView(weights, TOKENS).bundle()[0] for _ in range(2))
    assert first["image/png"] == second["image/png"] and first["text/plain"] == second["text/plain"]
    assert plt.get_fignums() == []


def test_any_size_from_one_head_and_one_token_on(weights):
    """A single token, a long text, weights as they come from a model in training, and an array."""
    for shape, given in [((1, 1, 1, 1), None), ((2, 1, 40, 40), None), ((1, 2, 3, 3), "gradient"), ((1, 2, 3, 3), "numpy")]:
        w = torch.full(shape, 1 / shape[-1], requires_grad=given == "gradient")
        data, _ = AttentionView(w.numpy() if given == "numpy" else w, ["x"] * shape[-1]).bundle()
        assert data["image/png"]


@pytest.mark.parametrize(
    ("shape", "n_tokens", "message"),
    [
        ((6, 6), 6, r"shape \(6, 6\), not \(n_layers, H, T, T\)"),
        ((3, 1, 2, 6, 6), 6, r"such as weights\[:, 0\]"),
        ((3, 2, 6, 5), 5, r"shape \(3, 2, 6, 5\)"),
        ((0, 2, 6, 6), 6, r"shape \(0, 2, 6, 6\)"),
        ((3, 2, 6, 6), 5, "There are 5 tokens, but the weights are those of 6"),
    ],
)
def test_wrong_shapes_get_a_sentence(shape, n_tokens, message):
    """What is wrong, and what to pass instead."""
    with pytest.raises(ValueError, match=message):
        AttentionView(torch.zeros(shape), ["x"] * n_tokens)


# The panel of generation


@pytest.fixture
def panel(small_model, articles_file):
    """A panel on the small model, which has a vocabulary of 320 tokens."""
    return GenerationPanel(small_model, train_tokenizer([articles_file.read_text(encoding="utf-8")], 320), "The <b> city")


def drive(panel, *actions, until=None):
    """Press Generate, then do each action after a moment, then wait for the end; return how often others got a turn."""

    async def session():
        turns = 0
        panel.start_button.click()
        for action in actions:
            await asyncio.sleep(0.05)
            action()
        while not panel.task.done():
            turns += 1
            await asyncio.sleep(0)
        return turns

    return asyncio.run(asyncio.wait_for(session(), 60))


def test_generate_writes_a_text_token_by_token_and_leaves_turns_to_others(panel):
    """As many tokens as asked for appear one by one, the prompt first, and between them the event loop runs."""
    panel.length.value, seen = 20, []
    panel.text.observe(lambda change: seen.append(change["new"]), names="value")
    panel.tokenizer.end_id = -1  # no end of the article
    assert drive(panel) >= 20
    assert len(set(seen)) > 5
    assert all(text.startswith('<p style="white-space: pre-wrap"><b>The &lt;b&gt; city</b>') for text in seen)
    assert panel.message.value == "" and not panel.start_button.disabled and panel.stop_button.disabled


def test_tokens_are_escaped(panel, monkeypatch):
    """Neither the prompt nor a generated piece can become HTML."""
    monkeypatch.setattr(panel.tokenizer, "decode", lambda ids: "<script>alert(1)</script>")
    monkeypatch.setattr(panel.tokenizer.sp, "id_to_piece", lambda i: "<img>", raising=False)
    panel.show("<i>", [1, 2], torch.full((320,), 1 / 320))
    shown = panel.text.value + panel.bars.value
    assert "<script" not in shown and "<i>" not in shown and "<img" not in shown and "&lt;script&gt;" in shown


def test_stop_ends_the_text_and_puts_everything_back(panel):
    """After Stop no further token appears, the buttons are as before, the model's mode too, and one can start again."""
    panel.model.train()
    panel.length.value, panel.tokenizer.end_id = 300, -1
    drive(panel, panel.stop_button.click)
    assert panel.message.value == "Stopped." and not panel.start_button.disabled and panel.stop_button.disabled
    assert panel.model.training and not panel.model.head._forward_hooks
    panel.length.value = 10
    drive(panel)
    assert panel.message.value == ""


def test_a_second_click_while_it_writes_does_nothing(panel):
    """There is one task, and one text; Generate cannot be pressed meanwhile."""
    tasks, disabled = [], []
    panel.tokenizer.end_id = -1

    def look():
        tasks.append(panel.task)
        disabled.append((panel.start_button.disabled, panel.stop_button.disabled))
        panel.start()

    drive(panel, look, look, panel.stop)
    assert tasks[0] is tasks[1] is panel.task and disabled == [(True, False)] * 2


def test_stop_before_anything_was_started_does_nothing(panel):
    """The button is disabled, and a call is harmless."""
    panel.stop()
    assert panel.task is None and panel.stop_button.disabled


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"prompt": "  "}, "The prompt is empty"),
        ({"temperature": 0}, "temperature must be above 0"),
        ({"prompt": "山は高い"}, "characters that this model has hardly met"),
        ({"prompt": "city " * 40}, "the model sees only the last 16"),
    ],
)
def test_what_is_wrong_is_said_in_the_panel(panel, change, sentence):
    """A bad setting or prompt gets its sentence; afterwards the panel works on."""
    for name, value in change.items():
        getattr(panel, name).value = value
    drive(panel)
    assert sentence in panel.message.value and not panel.start_button.disabled
    panel.prompt.value, panel.temperature.value = "The city", 0.8
    drive(panel)
    assert panel.message.value == "" and "<b>The city</b>" in panel.text.value


def test_another_vocabulary_is_said_in_the_panel(panel, articles_file):
    """A model and a tokenizer that do not belong together."""
    panel.tokenizer = train_tokenizer([articles_file.read_text(encoding="utf-8")], 310)
    drive(panel)
    assert "vocabulary of 320 tokens" in panel.message.value


def test_the_bars_are_the_distribution_from_which_the_token_was_drawn(panel):
    """With top-k of one there is one bar of 100 %, and it was drawn."""
    panel.top_k.value, panel.length.value = 1, 10
    drive(panel)
    assert panel.bars.value.count("100.0% drawn") == 1 and panel.bars.value.count("<tr>") == 1
    panel.top_k.value = 0  # all
    drive(panel)
    assert 0 <= panel.bars.value.count(" drawn") <= 1 and panel.bars.value.count("<tr>") == 10


def test_the_panel_is_one_output_with_a_picture_that_stays_the_same(panel, monkeypatch):
    """Live view, static picture and alt text; made again, picture and text are the same, and no figure stays open."""
    shown = []
    monkeypatch.setattr(panels, "display", lambda *args, **kwargs: shown.append((args, kwargs)))
    for _ in range(2):
        assert generation_panel(panel.model, panel.tokenizer, "The old city") is None
    ((first,), options), ((second,), _) = shown
    assert options["raw"] and set(first) == {WIDGET, "image/png", "text/plain"}
    assert options["metadata"] == {"alt": first["text/plain"], "image/png": {"alt": first["text/plain"]}}
    assert first["image/png"] == second["image/png"] and first["text/plain"] == second["text/plain"]
    assert "After 'The old city' the likeliest next token is" in first["text/plain"] and plt.get_fignums() == []
    assert imread(io.BytesIO(base64.b64decode(first["image/png"]))).shape[1] > 500
