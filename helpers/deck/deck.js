/* Lays out the slides before reveal.js shows them: 1280 × 800, nothing below the fold.

The parts of a slide (text, code, output, figure) stand below its heading. Where they are too much for one view, they
come in steps: the first parts, then, in their place, the next. Text and code are made smaller, and figures too, but
never below the limits here; what then doesn't fit stays too large, and tests/test_slides.py finds it. */
"use strict";

const WIDTH = 1280, HEIGHT = 800, GAP = 14, BOTTOM = 30;
const TEXT = 26, SCALES = [1.2, 1.1, 1, 0.95, 0.9, 0.85, 0.8, 0.75]; // pixels, and what they may be multiplied with
const CODE = 14; // the smallest code, in pixels: a line of 128 characters fits at 15
const FIGURE = [0.75, 1.4]; // the least and the most that the size of a figure is multiplied with
const FEWER = 3; // what a further step costs, in units of full size

window.MathJax = {
  skipStartupTypeset: true, showMathMenu: false, messageStyle: "none",
  tex2jax: { inlineMath: [["$", "$"]], processEscapes: true, preview: "none" },
  MMLorHTML: { prefer: "HTML" }, "fast-preview": { disabled: true },
  menuSettings: { assistiveMML: false }, // its style asks for fonts that do not come with it
  "HTML-CSS": {
    availableFonts: [], webFont: "STIX-Web", imageFont: null,
    styles: { "@font-face": { "font-family": "MathJax_Blank", src: "local('none')" } }, // as shipped, it is a failing request
  },
};

/** Move the first heading of a slide to its top; a slide without one repeats that of the slide before. */
function placeHeading(slide, before) {
  const first = slide.querySelector(".text :is(h1, h2, h3)");
  const own = first && !first.previousElementSibling && first.closest(".cell") === slide.querySelector(".cell");
  const heading = own ? first : before.cloneNode(true);
  heading.classList.add("heading");
  heading.classList.toggle("again", !own);
  slide.prepend(heading);
  slide.querySelectorAll(".text").forEach((part) => part.textContent.trim() || part.querySelector("img") || part.remove());
  return heading;
}

/** Make code and tables of a part so small that no line is cut, down to the limit. */
function fitWidth(part) {
  const padding = (box) => parseFloat(getComputedStyle(box).paddingLeft) + parseFloat(getComputedStyle(box).paddingRight);
  const room = part.clientWidth - padding(part);
  for (const box of part.querySelectorAll("pre, table, .MathJax_Display")) {
    box.style.fontSize = "";
    box.classList.remove("wrapped");
    const size = parseFloat(getComputedStyle(box).fontSize), wide = box.scrollWidth, inside = padding(box);
    if (wide > room + 1) box.style.fontSize = `${Math.max(CODE, (size * (room - inside)) / (wide - inside) - 0.05)}px`;
    if (part.matches(".output") && box.scrollWidth > room + 1) {
      box.style.fontSize = "";
      box.classList.add("wrapped");
    }
  }
}

/** Return the least and the most height of a part at each scale: {low: […], high: […], figure}. */
function measure(part, slide, room) {
  const image = part.matches(".figure") && part.querySelector("img");
  if (image) {
    const vector = image.src.startsWith("data:image/svg"), width = vector ? part.clientWidth : image.naturalWidth;
    const height = (width * image.naturalHeight) / image.naturalWidth, most = part.clientWidth / width;
    const [low, high] = FIGURE.map((scale) => Math.min(height * Math.min(scale, most), room));
    return { part, image, low: SCALES.map(() => low), high: SCALES.map(() => high) };
  }
  const heights = SCALES.map((scale) => {
    slide.style.fontSize = `${TEXT * scale}px`;
    fitWidth(part);
    return part.getBoundingClientRect().height;
  });
  return { part, low: heights, high: heights };
}

/** Return {cost, scale} of one step with these parts in a height: Infinity if even the smallest doesn't fit. */
function judge(parts, room) {
  const gaps = GAP * (parts.length - 1), sum = (values) => values.reduce((a, b) => a + b, 0);
  for (let s = 0; s < SCALES.length; s++) {
    const spare = room - gaps - sum(parts.map((p) => p.low[s]));
    if (spare < 0) continue;
    const wish = sum(parts.map((p) => p.high[s] - p.low[s]));
    return { scale: s, spare, cost: 4 * (SCALES[0] - SCALES[s]) + (wish > spare ? 1 - spare / wish : 0) };
  }
  return { scale: SCALES.length - 1, spare: 0, cost: 1000 };
}

/** Return the cheapest way to cut the parts into steps: a list of {parts, scale, spare}. */
function cutIntoSteps(parts, room) {
  const best = [{ cost: 0, steps: [] }];
  for (let end = 1; end <= parts.length; end++) {
    best[end] = { cost: Infinity };
    for (let start = end - 1; start >= 0; start--) {
      const own = judge(parts.slice(start, end), room);
      const cost = best[start].cost + own.cost + FEWER;
      if (cost < best[end].cost) best[end] = { cost, steps: [...best[start].steps, { ...own, parts: parts.slice(start, end) }] };
      if (parts[start].part.closest(".next")) break; // such a cell begins a step
    }
  }
  return best[parts.length].steps;
}

/** Build one step: its parts in their sizes; reveal.js shows one step after the other. */
function buildStep({ parts, scale, spare }, index, count) {
  const step = document.createElement("div");
  step.className = "step";
  step.style.fontSize = `${TEXT * SCALES[scale]}px`;
  const wish = parts.reduce((sum, p) => sum + p.high[scale] - p.low[scale], 0) || 1;
  for (const { part, image, low, high } of parts) {
    if (image) image.style.height = `${Math.floor(low[0] + (high[0] - low[0]) * Math.min(1, spare / wish))}px`;
    step.append(part);
  }
  if (count > 1) {
    step.classList.add("fragment", index === 0 ? "fade-out" : index < count - 1 ? "fade-in-then-out" : "fade-in");
    step.dataset.fragmentIndex = Math.max(0, index - 1);
  }
  return step;
}

/** Lay out one slide. */
function layOut(slide) {
  const heading = slide.querySelector(".heading");
  const top = heading.offsetTop + heading.offsetHeight + parseFloat(getComputedStyle(heading).marginBottom);
  const room = HEIGHT - BOTTOM - top;
  const parts = [...slide.querySelectorAll(".cell .part")].map((part) => measure(part, slide, room));
  for (const { part } of parts) part.dataset.id = part.closest(".cell").dataset.id;
  slide.style.fontSize = "";
  const steps = document.createElement("div");
  steps.className = "steps";
  steps.append(...cutIntoSteps(parts, room).map((step, i, all) => buildStep(step, i, all.length)));
  slide.querySelectorAll(".cell").forEach((cell) => cell.remove());
  heading.after(steps);
  steps.querySelectorAll(".part").forEach(fitWidth);
}

/** Typeset, lay out, and start. */
async function start() {
  let heading = null;
  const slides = [...document.querySelectorAll(".slides > section > section")];
  slides[0].classList.add("title");
  for (const slide of slides) heading = placeHeading(slide, heading);
  await new Promise((done) => MathJax.Hub.Queue(["Typeset", MathJax.Hub], done));
  await Promise.all([document.fonts.ready, ...Array.from(document.images, (image) => image.decode())]);
  const folded = document.querySelectorAll("details");
  folded.forEach((answer) => (answer.open = true)); // there is room for each answer when it is opened
  slides.forEach(layOut);
  folded.forEach((answer) => (answer.open = false));
  document.querySelector(".reveal").classList.remove("fitting");
  await Reveal.initialize({
    width: WIDTH, height: HEIGHT, margin: 0, center: false, hash: true, slideNumber: "c/t", transition: "none",
    navigationMode: "linear", // the right arrow leads through all slides, in order
    plugins: [RevealNotes],
  });
}

document.addEventListener("DOMContentLoaded", start);
