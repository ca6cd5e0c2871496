// A metric against weights remaining: lines with bands, treatments to switch, points to ask.

const TICKS = [100, 50, 20, 10, 5, 2, 1, 0.5, 0.2, 0.1];
const MARKERS = {
  o: "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0",
  s: "M-4-4h8v8h-8z",
  "^": "M0-5L5 4H-5z",
  v: "M0 5L5-4H-5z",
  D: "M0-5L5 0L0 5L-5 0z",
  "<": "M-5 0L4-5V5z",
  P: "M-2-5h4v3h3v4h-3v3h-4v-3h-3v-4h3z",
  X: "M-5-3l2-2l3 3l3-3l2 2l-3 3l3 3l-2 2l-3-3l-3 3l-2-2l3-3z",
  "*": "M0-6L1.5-2H6L2.4 .8L3.7 5L0 2.5L-3.7 5L-2.4 .8L-6-2H-1.5z",
};

function render({ model, el }) {
  const spec = model.get("spec");
  const numbers = NUMBERS[spec.metric];
  const dense = { name: "dense", marker: "", ...spec.dense };
  const lines = dense.points.length ? [dense, ...spec.treatments] : spec.treatments;
  const state = { on: new Set(lines.map(({ name }) => name)), single: false, at: null };
  const sparsest = Math.min(...lines.flatMap(({ points }) => points.map((p) => p.remaining)));

  const figure = draw("svg", {
    role: "application", tabindex: 0,
    "aria-label": `${spec.label} against weights remaining. The arrow keys move from point to point.`,
  });
  const status = make("p", { class: "lth-status lth-screen", "aria-live": "polite" },
    "Point at the figure, or select it and press the arrow keys, and the numbers appear here.");
  el.append(make("div", { class: "lth lth-levels", "data-lth": "levels" },
    spec.title && make("p", { class: "lth-title" }, spec.title),
    make("div", { class: "lth-controls" },
      ...lines.map((line) => toggle(line.name, true, (on) => {
        state.on[on ? "add" : "delete"](line.name);
        state.at = null;
        show();
      }, key(line))),
      toggle("single replicates", false, (on) => { state.single = on; show(); })),
    figure, status,
    make("details", {}, make("summary", {}, "The numbers as a table"), make("div", { class: "lth-scroll" }, table()))));

  // The dots that can be asked for their numbers, line by line: {line, point, x, y}.
  let dots = [];

  function show() {
    const width = Math.max(280, Math.min(720, figure.parentElement.clientWidth || 640));
    const height = Math.round(Math.max(260, 0.56 * width));
    const shown = lines.filter(({ name }) => state.on.has(name));
    const values = (shown.length ? shown : lines).flatMap(({ points }) => points.flatMap((p) =>
      [p.mean, p.low ?? p.mean, p.high ?? p.mean, ...(state.single ? p.replicates : [])]));
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const room = 0.05 * (high - low || Math.abs(high) || 1);
    const marks = steps(low - room, high + room);
    const box = {
      left: 34 + 7.5 * Math.max(...marks.map((t) => numbers.tick(t).length)),
      right: width - 14, top: 10, bottom: height - 48,
    };
    const y = (v) => box.bottom - ((v - low + room) / (high - low + 2 * room)) * (box.bottom - box.top);
    const ends = [Math.log(112), Math.log(sparsest / 1.12)];
    const x = (v) => box.left + ((ends[0] - Math.log(v)) / (ends[0] - ends[1])) * (box.right - box.left);

    dots = shown.filter((line) => line !== dense).flatMap((line) => path(line).map((point) =>
      ({ line, point, x: x(point.remaining), y: y(point.mean) })));
    figure.setAttribute("viewBox", `0 0 ${width} ${height}`);
    figure.setAttribute("width", width);
    figure.replaceChildren(
      ...axes(box, x, y, marks),
      ...shown.map((line) => band(line, box, x, y)),
      ...shown.map((line) => (line === dense ? level(line, box, y) : curve(line, x, y))),
      ...(state.single ? shown.map((line) => singles(line, x, y)) : []));
    mark();
  }

  /** Every treatment begins as the same dense network; what has its own says so in its points. */
  const path = (line) => [...dense.points, ...line.points];

  function axes(box, x, y, marks) {
    const grid = (x1, y1, x2, y2) => draw("line", { x1, y1, x2, y2, class: "lth-grid" });
    const text = (at, words) => draw("text", at, words);
    return [
      ...TICKS.filter((t) => t >= sparsest / 1.1).flatMap((t) => [
        grid(x(t), box.top, x(t), box.bottom),
        text({ x: x(t), y: box.bottom + 18, "text-anchor": "middle" }, String(t))]),
      ...marks.flatMap((t) => [
        grid(box.left, y(t), box.right, y(t)),
        text({ x: box.left - 7, y: y(t) + 4, "text-anchor": "end" }, numbers.tick(t))]),
      text({ x: (box.left + box.right) / 2, y: box.bottom + 40, "text-anchor": "middle" }, "weights remaining (%)"),
      text({ transform: `translate(13 ${(box.top + box.bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, spec.label),
    ];
  }

  function band(line, box, x, y) {
    const points = line === dense ? dense.points : path(line);
    if (points.some((p) => p.low === null)) return draw("g");
    const corners = line === dense
      ? [[box.left, "low"], [box.right, "low"], [box.right, "high"], [box.left, "high"]].map(([at, end]) => [at, y(points[0][end])])
      : [...points.map((p) => [x(p.remaining), y(p.low)]), ...points.toReversed().map((p) => [x(p.remaining), y(p.high)])];
    return draw("polygon", { points: corners.join(" "), fill: line.colour, "fill-opacity": 0.2 });
  }

  const level = (line, box, y) => draw("line", {
    x1: box.left, x2: box.right, y1: y(line.points[0].mean), y2: y(line.points[0].mean),
    stroke: line.colour, "stroke-width": 2, "stroke-dasharray": "7 5",
  });

  const curve = (line, x, y) => draw("g", { "data-treatment": line.name },
    draw("polyline", {
      points: path(line).map((p) => [x(p.remaining), y(p.mean)]).join(" "),
      fill: "none", stroke: line.colour, "stroke-width": 2, "stroke-dasharray": line.dash || null,
    }),
    ...path(line).map((p) => symbol(line, x(p.remaining), y(p.mean))));

  const singles = (line, x, y) => draw("g", { "data-replicates": line.name }, ...line.points.flatMap((p) =>
    p.replicates.map((v) => draw("circle", { cx: x(p.remaining), cy: y(v), r: 2.5, fill: "none", stroke: line.colour }))));

  /** The ring around the point that is asked, and its numbers below. */
  function mark() {
    figure.querySelector(".lth-ring")?.remove();
    if (state.at === null) return;
    const { line, point, x, y } = dots[state.at];
    figure.append(draw("circle", { class: "lth-ring", cx: x, cy: y, r: 9 }));
    status.replaceChildren(make("strong", {}, dense.points.includes(point) ? "dense" : line.name),
      ` at ${percent(point.remaining / 100)} of weights remaining (level ${point.level}): ${numbers.say(point.mean)}`,
      point.low === null ? ", one replicate"
        : `, 95% interval ${numbers.say(point.low)} to ${numbers.say(point.high)}, ${point.replicates.length} replicates`,
      state.single ? `: ${point.replicates.map(numbers.say).join(", ")}.` : ".");
  }

  function ask(at) {
    state.at = at;
    mark();
  }

  function nearest(event) {
    const box = figure.getBoundingClientRect();
    const size = figure.viewBox.baseVal;
    const [px, py] = [((event.clientX - box.left) / box.width) * size.width, ((event.clientY - box.top) / box.height) * size.height];
    const distances = dots.map(({ x, y }) => Math.hypot(x - px, y - py));
    const least = Math.min(...distances);
    return least < 60 ? distances.indexOf(least) : state.at;
  }

  figure.addEventListener("pointermove", (event) => ask(nearest(event)));
  figure.addEventListener("pointerdown", (event) => ask(nearest(event)));
  figure.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const turn = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!(step || turn) || dots.length === 0) return;
    event.preventDefault();
    if (state.at === null) return ask(0);
    const { line, point } = dots[state.at];
    if (step) {
      const next = dots[state.at + step];
      if (next?.line === line) ask(state.at + step);
      return;
    }
    // The same level of the next line; a treatment that has no such level is passed over.
    const others = dots.flatMap((dot, i) => (dot.point.level === point.level ? [i] : []));
    ask(others[(others.indexOf(state.at) + turn + others.length) % others.length]);
  });

  function table() {
    const head = ["treatment", "level", "weights remaining", spec.label, "95% interval", "replicates"];
    const rows = lines.flatMap((line) => line.points.map((p) => [
      line.name, p.level, percent(p.remaining / 100), numbers.say(p.mean),
      p.low === null ? "–" : `${numbers.say(p.low)} to ${numbers.say(p.high)}`, p.replicates.length]));
    return make("table", { class: "lth-numbers" },
      make("thead", {}, make("tr", {}, ...head.map((text) => make("th", { scope: "col" }, text)))),
      make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map((cell) => make("td", {}, cell))))));
  }

  show();
  // The text keeps its size on a phone: the figure is drawn anew, not scaled.
  return widths(figure.parentElement, show);
}

const NUMBERS = {
  accuracy: { say: (v) => `${v.toFixed(2)}%`, tick: (v) => String(Number(v.toFixed(6))) },
  loss: { say: (v) => v.toFixed(4), tick: (v) => String(Number(v.toFixed(6))) },
  step: { say: (v) => whole(v), tick: (v) => whole(v) },
};

/** Round numbers between two ends, about six. */
function steps(low, high) {
  const rough = (high - low) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, i) => (first + i) * step);
}

const symbol = (line, x, y) => draw("path", { d: MARKERS[line.marker], fill: line.colour, transform: `translate(${x} ${y})` });

/** How a line looks, beside its name. */
function key(line) {
  const dash = { "stroke-dasharray": line.marker ? line.dash || null : "6 4" };
  return draw("svg", { width: 30, height: 14, "aria-hidden": "true" },
    draw("line", { x1: 0, x2: 30, y1: 7, y2: 7, stroke: line.colour, "stroke-width": 2, ...dash }),
    line.marker ? symbol(line, 15, 7) : null);
}

export default { render };
