"""The shared figures: every one carries its alt text, the map marks its notebook, labels and numbers are in their places."""

import base64
import threading

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pytest

from helpers import plots


@pytest.fixture
def shown(monkeypatch):
    """A function that calls another and returns the data and the metadata of the one output that it displays."""

    def call(function, *args, **options):
        outputs = []
        monkeypatch.setattr(plots, "display", lambda data, raw, metadata: outputs.append((data, metadata)))
        function(*args, **options)
        (output,) = outputs
        return output

    return call


def test_show_carries_the_alt_text_in_every_form(shown):
    """A PNG, its alt text in the metadata and as plain text; the figure is closed."""
    fig, _ = plt.subplots()
    data, metadata = shown(plots.show, fig, alt="A line that rises.")
    assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG")
    assert data["text/plain"] == metadata["alt"] == metadata["image/png"]["alt"] == "A line that rises."
    assert not plt.fignum_exists(fig.number)


def test_a_figure_without_alt_text_is_refused():
    """The sentence says what to do."""
    fig, _ = plt.subplots()
    with pytest.raises(ValueError, match="say in a sentence"):
        plots.show(fig, alt=" ")
    plt.close(fig)


@pytest.mark.parametrize("here", range(7))
def test_the_course_map_marks_one_notebook(shown, here):
    """The mark lies around the box that bears the notebook's number."""
    svg = shown(plots.course_map, here)[0]["image/svg+xml"]
    box = svg.index(f">{here:02d}</text>")
    centre = float(svg[svg.rindex('<text x="', 0, box) + 9 : box].split('"')[0])
    mark = svg[: svg.index('fill="none" stroke="#000000"')]
    left = float(mark[mark.rindex('<rect x="') + 9 :].split('"')[0])
    assert left < centre < left + 166 and svg.count("you are here") == 1


def test_heatmap_writes_labels_and_numbers():
    """Rows and columns are labelled in order, and each number stands in its own square."""
    fig, ax = plt.subplots()
    plots.heatmap(ax, [[0.0, 1.0], [0.25, 0.75]], ["a", "b"], ["c", "d"], numbers="{:.2f}")
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b"]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["c", "d"]
    assert {t.get_position(): t.get_text() for t in ax.texts}[(0, 1)] == "0.25"
    plt.close(fig)


def test_bars_stand_in_order_with_their_values():
    """The first label is on top, and each bar is as long as its value says."""
    fig, ax = plt.subplots()
    plots.bars(ax, ["tall", "short"], [0.5, 0.125])
    assert [round(p.get_width(), 3) for p in ax.patches] == [0.5, 0.125] and ax.yaxis_inverted()
    assert {"50.0%", "12.5%"} <= {t.get_text() for t in ax.texts}
    plt.close(fig)


ROWS = ["iteration,train_loss,val_loss", "0,,7.6", "100,6.4,5.6"]


def test_losses_draws_both_curves_and_the_landmarks():
    """A row without a training loss is a point of the validation curve only; each landmark is a line with its name."""
    fig, ax = plt.subplots()
    plots.losses(ax, [dict(zip(ROWS[0].split(","), row.split(","), strict=True)) for row in ROWS[1:]], {"bigram": 4.6})
    training, validation, bigram = ax.lines
    assert list(training.get_xdata()) == [100] and list(validation.get_ydata()) == [7.6, 5.6]
    assert bigram.get_ydata()[0] == 4.6 and ax.texts[0].get_text() == "bigram"
    plt.close(fig)


def test_live_plot_draws_again_when_the_file_has_changed(tmp_path, monkeypatch):
    """It begins without a file, follows it while it grows, and ends with the last state and its thread."""
    seen, changed = [], threading.Event()

    class Handle:
        def update(self, data, raw, metadata):
            seen.append((data["image/png"], metadata["image/png"]["alt"]))
            changed.set()

    monkeypatch.setattr(plots, "display", lambda *args, **options: Handle())
    with plots.LivePlot(tmp_path / "log.csv", {"bigram": 4.6}) as live:
        (tmp_path / "part").write_text("\n".join(ROWS), encoding="utf-8")
        (tmp_path / "part").replace(tmp_path / "log.csv")
        assert changed.wait(30)
    assert len(seen) >= 2 and seen[0] == seen[-1] and "loss" in seen[0][1] and not live.thread.is_alive()
