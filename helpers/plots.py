"""The figures that the notebooks share, in one style, each with a text for those who cannot see it."""

import base64
import csv
import io
import threading
from pathlib import Path

import matplotlib.pyplot as plt
from IPython.display import display
from matplotlib.figure import Figure

# Okabe and Ito 2008: eight colours that colour-blind readers can tell apart.
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, RED, PINK = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
COLORS = [BLUE, RED, GREEN, ORANGE, PINK, SKY, BLACK, YELLOW]  # in the order in which lines take them
MAP = Path(__file__).resolve().parent.parent / "notebooks" / "course_map.svg"

plt.rcParams.update({
    "figure.figsize": (8, 4), "figure.dpi": 110, "figure.constrained_layout.use": True,
    "font.size": 13, "axes.titlesize": 14, "axes.titlelocation": "left", "axes.prop_cycle": plt.cycler(color=COLORS),
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.25,
    "lines.linewidth": 2.2, "legend.frameon": False, "image.cmap": "Blues",
})  # fmt: skip


def png(fig):
    """Return a figure as a PNG in base64, as Jupyter's outputs hold it, and close it."""
    picture = io.BytesIO()
    fig.savefig(picture, format="png", bbox_inches="tight", metadata={"Software": None})
    plt.close(fig)
    return base64.b64encode(picture.getvalue()).decode("ascii")


def show(fig, alt):
    """Display a figure with `alt`, a sentence or two that say what it shows, for screen readers and text-only pages."""
    if not alt.strip():
        raise ValueError("A figure needs an alt text: say in a sentence what it shows.")
    data = {"image/png": png(fig), "text/plain": alt}
    display(data, raw=True, metadata={"alt": alt, "image/png": {"alt": alt}})


def course_map(here=None):
    """Display the map of the course with notebook number `here` (0 to 6) marked."""
    svg, alt = MAP.read_text(encoding="utf-8"), "The map of the course: seven notebooks in a row."
    if here is not None:
        x = 20 + 168 * here
        mark = (
            f'<rect x="{x - 7}" y="17" width="166" height="142" rx="14" fill="none" stroke="#000000" stroke-width="5"/>'
            f'<text x="{x + 76}" y="182" text-anchor="middle" font-size="17" font-weight="bold">you are here</text>'
        )
        svg, alt = svg.replace("</svg>", mark + "</svg>"), f"{alt} You are at notebook {here:02d}."
    display({"image/svg+xml": svg, "text/plain": alt}, raw=True, metadata={"alt": alt, "image/svg+xml": {"alt": alt}})


def heatmap(ax, matrix, rows, columns, *, numbers=None, vmin=0.0, vmax=None, cmap="Blues"):
    """Draw a matrix (rows × columns) as coloured squares with its labels; numbers: a format such as "{:.2f}" to write in.

    Rows are queries and columns keys where it shows attention. Returns the image, for a colour bar.
    """
    image = ax.imshow(matrix, vmin=vmin, vmax=vmax, cmap=cmap, aspect="equal")
    ax.set_xticks(range(len(columns)), columns, rotation=45, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(rows)), rows)
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    if numbers:
        low, high = image.get_clim()
        for i, row in enumerate(matrix):
            for j, value in enumerate(row):
                dark = float(value) > low + 0.6 * (high - low)
                ax.text(j, i, numbers.format(float(value)), ha="center", va="center", color="white" if dark else "black")
    return image


def heatmaps(matrices, rows, columns, *, xlabel, ylabel, width=5.5, height=4.6, **options):
    """Return a figure of matrices side by side, each as `heatmap` draws it; matrices: {title: matrix}."""
    fig, axes = plt.subplots(1, len(matrices), figsize=(width * len(matrices), height))
    for ax, (title, matrix) in zip(axes, matrices.items(), strict=True):
        heatmap(ax, matrix, rows, columns, **options)
        ax.set(title=title, xlabel=xlabel)
    axes[0].set_ylabel(ylabel)
    return fig


def bars(ax, labels, values, *, color=BLUE, numbers="{:.1%}"):
    """Draw horizontal bars, the first on top, each with its value written at its end."""
    drawn = ax.barh(range(len(labels)), [float(v) for v in values], color=color)
    ax.bar_label(drawn, [numbers.format(float(v)) for v in values], padding=4)
    ax.set_yticks(range(len(labels)), labels)
    ax.invert_yaxis()
    ax.grid(False)
    ax.margins(x=0.15)


def tokens(ax, rows, labels):
    """Draw rows of tokens as boxes as wide as their characters, one under the other; pale blue: longer than a character."""
    for y, row in enumerate(rows):
        x = 0
        for token in row:
            if token.strip():  # a blank only leaves a gap
                fill = "#CFE3F1" if len(token) > 1 else "white"
                ax.barh(y, len(token) - 0.12, left=x + 0.06, height=0.74, color=fill, edgecolor="#555", linewidth=0.8)
                ax.text(x + len(token) / 2, y, token, ha="center", va="center", family="monospace")
            x += len(token)
    ax.set_yticks(range(len(rows)), labels)
    ax.invert_yaxis()
    ax.set_xticks([])
    ax.grid(False)
    ax.spines[["left", "bottom"]].set_visible(False)
    ax.tick_params(length=0)


def arcs(ax, tokens, weights, *, color=BLUE):
    """Draw what the last token takes from each token: arcs over the words, as thick as the weights: (T,)."""
    places, x = [], 0.0  # the middle of each word, in characters
    for token in tokens:
        places.append(x + len(token) / 2)
        x += max(len(token), 3) + 2.5
    end = places[-1]
    for place, token, weight in zip(places, tokens, map(float, weights), strict=True):
        u, height = [i / 40 for i in range(41)], 0.4 + (end - place) / 18
        line = ([place + i * (end - place) for i in u], [4 * height * i * (1 - i) for i in u])
        ax.plot(*line, color=color, lw=14 * weight, alpha=0.6, solid_capstyle="round")
        ax.text(place, -0.16, token, ha="center", va="top", fontweight="bold" if place == end else "normal")
        ax.text(place, -0.55, f"{weight:.2f}", ha="center", va="top", color=color, fontsize=11)
    ax.set(xlim=(-2, x), ylim=(-0.9, end / 18 + 0.6))
    ax.axis("off")


def flow(ax, steps):
    """Draw the way of a tensor from top to bottom; steps: (what is done, the shape afterwards), the first undone."""
    for i, (done, shape) in enumerate(steps):
        box = {"boxstyle": "round", "facecolor": "#e8f1f8", "edgecolor": BLUE}
        ax.text(0.5, -i, shape, ha="center", va="center", family="monospace", bbox=box)
        if i:
            ax.annotate("", (0.5, -i + 0.27), (0.5, -i + 0.73), arrowprops={"arrowstyle": "->", "color": BLACK})
            ax.text(0.53, -i + 0.5, done, ha="left", va="center", fontsize=11)
    ax.set(xlim=(0, 1), ylim=(-len(steps) + 0.5, 0.5))
    ax.axis("off")


def block_diagram(ax, attention="attention", feed_forward="feed-forward"):
    """Draw the block: the residual stream as a straight line, and above it the two parts that read it and add to it."""
    arrow = {"arrowstyle": "-|>", "mutation_scale": 20, "linewidth": 2.4, "shrinkA": 0, "shrinkB": 0}

    def line(start, end, color, style="-|>"):
        ax.annotate("", end, start, arrowprops={**arrow, "arrowstyle": style, "color": color})

    line((0, 0), (16, 0), BLACK)
    for x, part, color in ((1, attention, ORANGE), (8.5, feed_forward, BLUE)):
        ends = [(x, 0), (x, 2), (x + 5.8, 2), (x + 5.8, 0.32)]
        for start, end, style in zip(ends, ends[1:], ("-", "-", "-|>"), strict=False):
            line(start, end, color, style)
        for dx, text in ((1.1, "norm"), (3.9, part)):
            box = {"boxstyle": "round,pad=0.5", "facecolor": "white", "edgecolor": color, "linewidth": 2.4}
            ax.text(x + dx, 2, text, ha="center", va="center", bbox=box)
        ax.plot(x, 0, "o", color=BLACK, markersize=9)
        ax.text(x + 5.8, 0, "+", ha="center", va="center", fontsize=17, bbox={"boxstyle": "circle,pad=0.15", "fc": "white"})
        ax.text(x, -0.5, "read", ha="center", va="top", color=color)
        ax.text(x + 5.8, -0.5, "add", ha="center", va="top", color=color)
    ax.text(16.2, 0, "x", ha="left", va="center", fontsize=16)
    ax.text(-0.2, 0, "x", ha="right", va="center", fontsize=16)
    ax.set(xlim=(-0.8, 16.8), ylim=(-1.2, 3.2))
    ax.axis("off")


def before_after(ax, labels, before, after, *, numbers="{:.1%}"):
    """Draw horizontal bars, the first on top: pale for a value before something was done to it, blue for it afterwards."""
    ax.barh(range(len(labels)), [float(v) for v in before], color="#BBD8EC", height=0.85)
    bars(ax, labels, after, numbers=numbers)
    for bar in ax.containers[-1]:
        bar.set(height=0.45, y=bar.get_y() + 0.175)
    ax.set_ylim(len(labels) - 0.4, -0.6)  # whatever axes it shares


def befores_afters(labels, before, afters, *, xlabel):
    """Return a figure with a panel for each of afters ({title: values}), as `before_after` draws it."""
    fig, axes = plt.subplots(1, len(afters), figsize=(11, 4.4), sharey=True, sharex=True)
    for ax, (title, after) in zip(axes, afters.items(), strict=True):
        before_after(ax, labels, before, after)
        ax.set(title=title, xlabel=xlabel)
    return fig


def cache_steps(ax, prompt, n, *, cached):
    """Draw n steps of generation as rows of tokens: those computed in the step, and those read from the cache."""
    for step in range(n):
        for t in range(prompt + step):
            new = not cached or step == 0 or t == prompt + step - 1
            label = "computed" if new else "keys and values read from the cache"
            label = f"_{label}" if label in ax.get_legend_handles_labels()[1] else label  # named once
            ax.barh(step + 1, 0.88, left=t + 0.56, height=0.76, color=BLUE if new else "#BBD8EC", label=label)
    ax.set(xlabel="token", ylabel="step", ylim=(n + 0.6, 0.4), yticks=range(1, n + 1), xticks=range(1, prompt + n))
    ax.grid(False)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), fontsize=11)


def losses(ax, rows, marks):
    """Draw training and validation loss of the rows of a log, and landmarks as lines; marks: {name: nats per token}."""
    seen = [row for row in rows if row["train_loss"]]
    for name, some, column, color in (("training", seen, "train_loss", SKY), ("validation", rows, "val_loss", BLUE)):
        steps, values = [int(row["iteration"]) for row in some], [float(row[column]) for row in some]
        ax.plot(steps, values, "o-", markersize=4, label=name, color=color)
    for loss in marks.values():
        ax.axhline(loss, color=BLACK, lw=1, ls="--", zorder=1)
    (low, high), place = ax.get_ylim(), float("-inf")
    for name, loss in sorted(marks.items(), key=lambda mark: mark[1]):
        place = max(loss, place + 0.07 * (high - low))  # names of neighbours must not overlap
        ax.text(1.01, place, name, transform=ax.get_yaxis_transform(), va="center", fontsize=12)
    ax.set(xlabel="iteration (steps of the optimiser)", ylabel="loss (nats per token)", title="Loss, and the landmarks")
    ax.legend(loc="center right")


class LivePlot:
    """Within it the losses of a growing log.csv are drawn anew by a thread whenever the file has changed."""

    def __init__(self, path, marks):
        self.path, self.marks, self.done = Path(path), marks, threading.Event()

    def __enter__(self):
        self.handle = display(*self._draw(), raw=True, metadata=self.metadata, display_id=True)
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()
        self.handle.update(*self._draw(), raw=True, metadata=self.metadata)

    def _changed(self):
        return self.path.stat().st_mtime_ns if self.path.exists() else None

    def _watch(self):
        while not self.done.wait(0.5):
            if self._changed() != self.drawn:
                self.handle.update(*self._draw(), raw=True, metadata=self.metadata)

    def _draw(self):
        self.drawn, fig, picture = self._changed(), Figure(figsize=(8, 4)), io.BytesIO()
        rows = csv.DictReader(self.path.read_text(encoding="utf-8").splitlines()) if self.drawn else []
        losses(fig.subplots(), list(rows), self.marks)
        fig.savefig(picture, format="png", metadata={"Software": None})
        alt = "Training and validation loss of the run so far against the iteration, with the landmarks of its text."
        self.metadata = {"alt": alt, "image/png": {"alt": alt}}
        return ({"image/png": base64.b64encode(picture.getvalue()).decode("ascii"), "text/plain": alt},)
