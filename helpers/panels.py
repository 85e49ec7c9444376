"""Live panels for the notebooks; where no widgets run (web pages, slides, tests) a static picture stands for each."""

import asyncio
import html
import textwrap
import warnings

import ipywidgets
import matplotlib.pyplot as plt
import torch
from IPython.display import display

from helpers.data import PROMPT
from helpers.generation import generate, next_token_probs, prompt_notes, stream_text, stream_tokens
from helpers.plots import bars, heatmap, png


class AttentionView:
    """Two sliders, for layer and head, and the picture of the attention weights of that head.

    weights: (n_layers, H, T, T), each row summing to one. tokens: T strings. The sliders count from 1. Raises
    ValueError for other shapes. Use it through `attention_view`.
    """

    def __init__(self, weights, tokens):
        weights, self.tokens = torch.as_tensor(weights).detach().float().cpu(), [repr(str(t))[1:-1] for t in tokens]
        if weights.dim() != 4 or 0 in weights.shape or weights.size(2) != weights.size(3):
            raise ValueError(
                f"The weights have the shape {tuple(weights.shape)}, not (n_layers, H, T, T): "
                "of a batch (n_layers, B, H, T, T), choose one sequence, such as weights[:, 0]."
            )
        if len(self.tokens) != weights.size(3):
            raise ValueError(f"There are {len(self.tokens)} tokens, but the weights are those of {weights.size(3)}.")
        self.weights = weights
        self.layer, self.head = (
            ipywidgets.IntSlider(1, 1, size, description=name, continuous_update=False)
            for name, size in (("layer", weights.size(0)), ("head", weights.size(1)))
        )
        self.picture = ipywidgets.HTML()
        for slider in (self.layer, self.head):
            slider.observe(self.draw, names="value")
        self.draw()

    def draw(self, change=None):
        """Draw the chosen head; called whenever a slider moves."""
        layer, head = self.layer.value, self.head.value
        matrix, T = self.weights[layer - 1, head - 1].numpy(), len(self.tokens)
        fig, ax = plt.subplots(figsize=(2.6 + 0.45 * T, 2 + 0.42 * T))
        heatmap(ax, matrix, self.tokens, self.tokens, numbers="{:.2f}" if T <= 12 else None, vmax=1.0)
        ax.set(title=f"layer {layer}, head {head}", xlabel="key: taken from", ylabel="query: who looks")
        share, most = matrix[-1].max(), matrix[-1].argmax()
        alt = f"Layer {layer}, head {head}: {self.tokens[-1]!r} takes most from {self.tokens[most]!r}, {share:.2f}."
        self.picture.value = f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{png(fig)}">'

    def grid(self):
        """Return a PNG (base64) of all heads of all layers side by side: a row of small squares for each layer."""
        n_layers, H, T, _ = self.weights.shape
        fig, axes = plt.subplots(n_layers, H, figsize=(1.15 * H + 1.6, 1.15 * n_layers + 1.3), squeeze=False)
        for (layer, head), ax in zip(torch.cartesian_prod(*map(torch.arange, (n_layers, H))).tolist(), axes.flat, strict=True):
            heatmap(ax, self.weights[layer, head].numpy(), [], [], vmax=1.0)
            ax.set_xticks([]), ax.set_yticks([])
            for spine in ax.spines.values():
                spine.set(visible=True, color="0.7")
            if layer == 0:
                ax.set_title(f"head {head + 1}", fontsize=11, loc="center")
            if head == 0:
                ax.set_ylabel(f"layer {layer + 1}", fontsize=11)
        bar = fig.colorbar(axes[0, 0].images[0], ax=axes, shrink=0.5, aspect=30)
        bar.set_label("attention weight")
        fig.supxlabel(f"each square: {T} queries (rows) × {T} keys (columns)", fontsize=11)
        return png(fig)

    def bundle(self):
        """Return (data, metadata) of the one output: the live view, a static picture, and its text."""
        n_layers, H, T, _ = self.weights.shape
        last = self.weights[:, :, -1].mean(dim=(0, 1))  # (T,)
        shares = ", ".join(f"{token} {share:.2f}" for token, share in zip(self.tokens, last, strict=True))
        alt = (
            f"The attention weights of {n_layers} layers of {H} heads each over {T} tokens, a small square for each head. "
            f"On average over all heads the last token, {self.tokens[-1]!r}, takes from: {shares}."
        )
        view = ipywidgets.VBox([ipywidgets.HBox([self.layer, self.head]), self.picture])
        data = {**view._repr_mimebundle_(), "image/png": self.grid(), "text/plain": alt}
        return data, {"alt": alt, "image/png": {"alt": alt}}


def attention_view(weights, tokens):
    """Display an `AttentionView`: sliders choose a layer and a head of weights: (n_layers, H, T, T) over T tokens."""
    data, metadata = AttentionView(weights, tokens).bundle()
    display(data, raw=True, metadata=metadata)


class GenerationPanel:
    """A prompt, sliders, and two buttons: the text appears token by token, and bars show from what each token was drawn.

    A click starts an asyncio task that lets the kernel breathe after each token, so that Stop and the sliders go on
    working. Use it through `generation_panel`; notebook 06, "Interactive mode".
    """

    def __init__(self, model, tokenizer, prompt=PROMPT):
        self.model, self.tokenizer, self.task = model, tokenizer, None
        wide, label = ipywidgets.Layout(width="95%"), {"description_width": "7.5em"}
        counts = [*((str(k), k) for k in (1, 2, 5, 10, 20, 50, 100, 200, 500)), ("all", 0)]
        self.prompt = ipywidgets.Textarea(prompt, description="prompt", rows=2, layout=wide, style=label)
        self.temperature = ipywidgets.FloatSlider(0.8, min=0, max=2, step=0.05, description="temperature", style=label)
        self.top_k = ipywidgets.SelectionSlider(options=counts, value=50, description="top-k", style=label)
        self.top_p = ipywidgets.FloatSlider(0.95, min=0.05, max=1, step=0.05, description="top-p")
        self.length = ipywidgets.IntSlider(60, min=10, max=300, step=10, description="length")
        self.start_button = ipywidgets.Button(description="Generate", button_style="primary")
        self.stop_button = ipywidgets.Button(description="Stop", disabled=True)
        self.message, self.text, self.bars = ipywidgets.HTML(), ipywidgets.HTML(layout=wide), ipywidgets.HTML(layout=wide)
        self.start_button.on_click(self.start)
        self.stop_button.on_click(self.stop)

    def settings(self):
        """Return the settings of the sliders, as `next_token_probs` takes them."""
        return {"temperature": self.temperature.value, "top_k": self.top_k.value or None, "top_p": self.top_p.value}

    def start(self, button=None):
        """Begin a text; while one is being written, do nothing. Needs a running event loop, as every kernel has."""
        if self.task is None or self.task.done():
            self.task = asyncio.get_running_loop().create_task(self.run())

    def stop(self, button=None):
        """End the text after the token that is being computed."""
        if self.task is not None:
            self.task.cancel()

    def busy(self, is_busy):
        """Let only that button be pressed which makes sense now."""
        self.start_button.disabled, self.stop_button.disabled = is_busy, not is_busy

    async def run(self):
        """Write one text with the present settings; whatever is wrong with them is said in the panel."""
        prompt, settings, logits = self.prompt.value, self.settings(), []
        self.busy(True)
        self.text.value = self.bars.value = ""
        hook = self.model.head.register_forward_hook(lambda module, inputs, output: logits.append(output))
        try:
            self.say(*prompt_notes(self.model, self.tokenizer, prompt))
            list(stream_text(self.model, self.tokenizer, prompt, 0, **settings))  # no token, only the checks
            ids = self.tokenizer.encode(prompt)
            idx = torch.tensor([ids], device=self.model.position_embedding.weight.device)
            for token in stream_tokens(self.model, idx, self.length.value, stop=self.tokenizer.end_id, **settings):
                ids.append(token.item())
                self.show(prompt, ids, next_token_probs(logits[-1], **settings)[0])
                logits.clear()
                await asyncio.sleep(0.005)  # the kernel reads the clicks
        except asyncio.CancelledError:
            self.say("Stopped.")
        except ValueError as error:
            self.say(str(error))
        finally:
            hook.remove()
            self.busy(False)

    def say(self, *sentences):
        """Show sentences to the user in place of those before."""
        self.message.value = "<br>".join(map(html.escape, sentences))

    def show(self, prompt, ids, probs):
        """Show the text of ids, without half a character at its end, and bars of the distribution of its last token."""
        text = self.tokenizer.decode(ids).removeprefix(prompt).rstrip("\ufffd")
        self.text.value = f'<p style="white-space: pre-wrap"><b>{html.escape(prompt)}</b>{html.escape(text)}</p>'
        rows, (values, tokens) = [], probs.topk(min(10, int((probs > 0).sum())))
        for value, token in zip(values.tolist(), tokens.tolist(), strict=True):
            color, mark = ("#D55E00", " drawn") if token == ids[-1] else ("#0072B2", "")
            name = html.escape(self.tokenizer.sp.id_to_piece(token))
            bar = f'<div style="background: {color}; height: 0.9em; width: {80 * value:.1f}%; display: inline-block"></div>'
            rows.append(f'<tr><td align="right">{name}&nbsp;</td><td width="640">{bar} {value:.1%}{mark}</td></tr>')
        self.bars.value = f'<table style="line-height: 1.2">{"".join(rows)}</table>'

    def static(self):
        """Return a PNG (base64) that stands for the panel where no widgets run, and its alt text."""
        prompt, settings = self.prompt.value, self.settings()
        idx = torch.tensor([self.tokenizer.encode(prompt)], device=self.model.position_embedding.weight.device)
        with torch.inference_mode():
            probs = next_token_probs(self.model(idx[:, -self.model.config.context :])[:, -1], **settings)[0]
        values, tokens = probs.topk(min(10, int((probs > 0).sum())))
        names = [self.tokenizer.sp.id_to_piece(token) for token in tokens.tolist()]
        written = generate(self.model, idx, 30, seed=0, stop=self.tokenizer.end_id, **settings)[0].tolist()
        text = self.tokenizer.decode(written)
        fig, ax = plt.subplots(figsize=(9, 5.2))
        bars(ax, names, values)
        chosen = ", ".join(f"{name} {'all' if value is None else value}" for name, value in settings.items())
        ax.set(xlabel=f"probability of the next token after the prompt ({chosen})")
        lines = [part for line in text.split("\n") for part in textwrap.wrap(line, 78) or [""]]
        ax.set_title("\n".join(["A picture of the panel. One continuation:", *lines]), fontsize=12, parse_math=False)
        alt = f"A panel that continues a prompt. After {prompt!r} the likeliest next token is {names[0]!r}, {values[0]:.2f}."
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph")  # a script that the font has not
            return png(fig), f"{alt} One continuation: {text!r}"

    def bundle(self):
        """Return (data, metadata) of the one output: the live panel, a static picture, and its text."""
        picture, alt = self.static()
        sliders = [ipywidgets.VBox([self.temperature, self.top_k]), ipywidgets.VBox([self.top_p, self.length])]
        buttons = ipywidgets.HBox([self.start_button, self.stop_button])
        view = ipywidgets.VBox([self.prompt, ipywidgets.HBox(sliders), buttons, self.message, self.text, self.bars])
        data = {**view._repr_mimebundle_(), "image/png": picture, "text/plain": alt}
        return data, {"alt": alt, "image/png": {"alt": alt}}


def generation_panel(model, tokenizer, prompt=PROMPT):
    """Display a `GenerationPanel`: the model continues what you type, with the settings of the sliders."""
    data, metadata = GenerationPanel(model, tokenizer, prompt).bundle()
    display(data, raw=True, metadata=metadata)
