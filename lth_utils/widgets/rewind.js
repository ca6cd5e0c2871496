// Late rewinding and stability: a rewind step, chosen for all panels. Every number comes from
// Python; here they are only told and drawn.

const FLATTEST = 2;  // points of error on an axis at least: a ripple must not look like a barrier

function render({ model, el }) {
  const spec = model.get("spec");
  const state = { at: 0, pair: spec.pairs[0] };
  const has = (key) => spec.pairs.some((pair) => pair[key].some((value) => value));

  const slider = make("input", {
    type: "range", min: 0, max: spec.steps.length - 1, step: 1, value: 0, "aria-label": "rewind step",
    oninput: () => go(Number(slider.value)),
  });
  const pairs = spec.pairs.length < 2 ? null : make("div", { class: "lth-controls" }, make("span", {}, "Two copies of"),
    choice("two copies of", spec.pairs.map(({ name }) => name), state.pair.name, (name) => {
      state.pair = spec.pairs.find((pair) => pair.name === name);
      show();
    }));
  const headline = make("p", {});
  const panels = [
    spec.lines.length + spec.bands.length ? place("accuracy", accuracy) : null,
    has("distance") ? place("distance", distance) : null,
    has("line") || has("barrier") ? place("line", line) : null,
  ].filter((panel) => panel);
  const numbers = make("tbody");

  el.append(make("div", { class: "lth lth-rewind", "data-lth": "rewind" },
    spec.title && make("p", { class: "lth-title" }, spec.title),
    make("div", { class: "lth-controls" }, make("label", { class: "lth-wide" }, make("span", {}, "Rewind to"), slider)),
    pairs, headline,
    make("div", { class: `lth-panels${panels.length % 2 ? " lth-odd" : ""}` }, ...panels.map(({ box }) => box)),
    make("details", {}, make("summary", {}, "The numbers as a table, with 95% intervals"),
      make("div", { class: "lth-scroll" }, make("table", { class: "lth-numbers" }, head(), numbers)))));

  /** A panel: its numbers in words, and what is drawn. */
  function place(name, redraw) {
    const told = make("p", { class: "lth-told", "aria-live": "polite" });
    const figure = draw("svg", { class: "lth-chart", role: "img" });
    const box = make("div", { "data-panel": name }, told, figure);
    return { told, figure, box, redraw };
  }

  function go(at) {
    state.at = at;
    slider.value = at;
    show();
  }

  function show() {
    const step = spec.steps[state.at];
    headline.replaceChildren(make("strong", {}, `Rewind step ${step}`),
      `: level ${spec.level}, ${percent(spec.remaining / 100)} of weights remaining.`);
    slider.setAttribute("aria-valuetext", `rewind step ${step}`);
    panels.forEach((panel) => panel.redraw(panel));
    numbers.replaceChildren(...rows());
  }

  function accuracy({ told, figure, box }) {
    const [main] = spec.lines;
    const point = main?.points[state.at];
    told.replaceChildren(...(point ? [`${sentence(main.name)}: ${tell(point, percentage)}, ${counted(point.n)}. Gap to dense: `,
      ...(point.gap ? [make("strong", {}, `${signed(point.gap.mean)} points`), `${between(point.gap, signed)}.`] : ["not known."])]
      : ["No accuracy at this step."]));
    const points = spec.lines.flatMap((one) => one.points.filter((p) => p));
    steppable(figure, {
      label: spec.label, values: [...points, ...spec.bands],
      inside: ({ x, y, left, right }) => [
        ...spec.bands.flatMap((band) => across(band, left, right, y)),
        ...spec.lines.flatMap((one) => trace(one, one.points, x, y)),
        point?.gap && spec.bands[0]?.name === "dense" ? draw("line", { class: "lth-gap",
          x1: x(state.at), x2: x(state.at), y1: y(point.mean), y2: y(spec.bands[0].mean) }) : null,
        point ? draw("circle", { class: "lth-ring", cx: x(state.at), cy: y(point.mean), r: 8 }) : null,
      ],
    });
    figure.setAttribute("aria-label", `${spec.label} against the rewind step; ${told.textContent}`);
    if (!box.querySelector(".lth-legend")) box.append(legend());
  }

  function distance({ told, figure }) {
    const { pair } = state;
    const point = pair.distance[state.at];
    told.replaceChildren(`L2 distance between two copies of ${called(pair)}: `,
      ...(point ? [make("strong", {}, short(point.mean)), `${between(point, short)}.`] : ["not known at this step."]));
    steppable(figure, {
      label: "L2 distance", values: [...pair.distance.filter((p) => p), { mean: 0 }], floor: 0,
      inside: ({ x, y }) => [
        ...trace({ ...pair, shape: "circle" }, pair.distance, x, y),
        point ? draw("circle", { class: "lth-ring", cx: x(state.at), cy: y(point.mean), r: 8 }) : null,
      ],
    });
    figure.setAttribute("aria-label", `L2 distance between two copies against the rewind step; ${told.textContent}`);
  }

  function line({ told, figure }) {
    const { pair } = state;
    const barrier = pair.barrier[state.at];
    const points = pair.line[state.at];
    told.replaceChildren(`Error on the line between two copies of ${called(pair)}. Barrier: `,
      ...(barrier ? [make("strong", {}, `${barrier.mean.toFixed(2)} points`), `${between(barrier, (v) => minus(v.toFixed(2)))}.`]
        : ["not known at this step."]));
    figure.style.display = pair.line.some((p) => p) ? "" : "none";
    // One axis for all steps, so that one sees the barrier sink.
    const all = pair.line.flatMap((p) => p ?? []);
    panel(figure, {
      label: `${spec.split} error (%)`, foot: "position on the line between the copies", values: all, span: FLATTEST,
      domain: [-0.03, 1.03], ticks: [0, 0.25, 0.5, 0.75, 1].map((t) => ({ at: t, text: String(t) })),
      inside: ({ x, y }) => (points ? trace({ ...pair, name: `line ${pair.name}` }, points, (i) => x(i / (points.length - 1)), y)
        : [draw("text", { x: x(0.5), y: 40, "text-anchor": "middle" }, "no line at this step")]),
    });
    figure.setAttribute("aria-label", told.textContent);
  }

  /** A panel over the rewind steps; a click chooses the nearest. */
  function steppable(figure, options) {
    const last = spec.steps.length - 1;
    const x = panel(figure, {
      ...options, foot: "rewind step (evenly spaced)", domain: [-0.4, last + 0.4], at: state.at,
      ticks: spec.steps.map((text, at) => ({ at, text, chosen: at === state.at })),
    });
    figure.setAttribute("data-pick", "");
    figure.onclick = (event) => {
      const frame = figure.getBoundingClientRect();
      const here = ((event.clientX - frame.left) / frame.width) * figure.viewBox.baseVal.width;
      const far = spec.steps.map((_, i) => Math.abs(x(i) - here));
      go(far.indexOf(Math.min(...far)));
    };
  }

  const legend = () => make("div", { class: "lth-legend" },
    ...spec.lines.map((one) => make("span", {}, key(one), `${one.name}, rewound`)),
    ...spec.bands.map((band) => make("span", {}, swatch(band), `${band.name}, ${percentage(band.mean)}`)));

  const called = ({ name }) => `the ${name === "dense" ? "dense network" : name} from ${spec.steps[state.at]} on`;

  function head() {
    const [main] = spec.lines;
    return make("thead", {}, make("tr", {}, ...["rewind step", ...(main ? [`${main.name}, accuracy`, "gap to dense"] : []),
      ...spec.pairs.flatMap(({ name }) => [`${name}, distance`, `${name}, barrier`])].map((text) => make("th", { scope: "col" }, text))));
  }

  function rows() {
    const [main] = spec.lines;
    const cell = (p, say) => (p ? `${say(p.mean)}${p.low === null ? "" : ` (${say(p.low)} to ${say(p.high)})`}` : "–");
    return spec.steps.map((step, i) => make("tr", i === state.at ? { class: "lth-chosen" } : {}, make("th", { scope: "row" }, step),
      ...[...(main ? [cell(main.points[i], percentage), cell(main.points[i]?.gap, signed)] : []),
        ...spec.pairs.flatMap((pair) => [cell(pair.distance[i], short), cell(pair.barrier[i], (v) => minus(v.toFixed(2)))]),
      ].map((text) => make("td", {}, text))));
  }

  show();
  return widths(el.firstElementChild, show);
}

const percentage = NUMBERS.accuracy.say;
const minus = (text) => text.replace("-", "−");
const signed = (v) => { const text = Math.abs(v).toFixed(2); return /[1-9]/.test(text) ? `${v < 0 ? "−" : "+"}${text}` : text; };
const short = (v) => minus(Math.abs(v) < 1000 ? v.toPrecision(3) : whole(v));
const counted = (n) => (n === 1 ? "one replicate" : `${n} replicates`);
const between = (p, say) => (p.low === null ? "" : ` (95% interval ${say(p.low)} to ${say(p.high)})`);
const tell = (p, say) => `${say(p.mean)}${between(p, say)}`;
const sentence = (text) => text[0].toUpperCase() + text.slice(1);

/**
 * Axes, and within them what `inside` gives; as wide as its parent. Gives back the x scale.
 *
 * values: what the y axis must hold, {mean, low, high}; floor: where it begins; span: what it
 * covers at least; ticks: {at, text, chosen} of the x axis, left out where they would touch.
 */
function panel(figure, { label, foot, values, floor = null, span = 0, domain, ticks, at = null, inside }) {
  const width = Math.max(250, Math.min(720, figure.parentElement.clientWidth || 640));
  const height = Math.round(Math.min(300, Math.max(190, 0.45 * width)));
  const ends = values.flatMap((p) => [p.mean, p.low ?? p.mean, p.high ?? p.mean]);
  let [low, high] = ends.length ? [Math.min(...ends), Math.max(...ends)] : [0, 1];
  const more = Math.max(0, span - (high - low)) / 2 + 0.06 * (Math.max(high - low, span) || Math.abs(high) || 1);
  [low, high] = [floor ?? low - more, high + more];
  const marks = steps(low, high);
  const tick = NUMBERS.accuracy.tick;
  const [left, right, top, bottom] = [30 + 7.5 * Math.max(...marks.map((t) => tick(t).length)), width - 8, 8, height - 42];
  const x = (v) => left + ((v - domain[0]) / (domain[1] - domain[0])) * (right - left);
  const y = (v) => bottom - ((v - low) / (high - low)) * (bottom - top);
  const stroke = (x1, y1, x2, y2, more) => draw("line", { x1, y1, x2, y2, ...more });
  const half = (t) => 3.8 * t.text.length + 3;
  const kept = [];  // the chosen one first: it is always there
  for (const t of [...ticks.filter((t) => t.chosen), ...ticks.filter((t) => !t.chosen)])
    if (kept.every((other) => Math.abs(x(t.at) - x(other.at)) > half(t) + half(other))) kept.push(t);

  figure.setAttribute("viewBox", `0 0 ${width} ${height}`);
  figure.setAttribute("width", width);
  figure.replaceChildren(
    ...marks.flatMap((t) => [
      stroke(left, y(t), right, y(t), { class: "lth-grid" }),
      draw("text", { x: left - 6, y: y(t) + 4, "text-anchor": "end" }, tick(t))]),
    ...ticks.map((t) => stroke(x(t.at), bottom, x(t.at), bottom + 4, { stroke: "currentColor", "stroke-opacity": 0.5 })),
    ...kept.map((t) => draw("text", { x: x(t.at), y: bottom + 18, "text-anchor": "middle", "font-weight": t.chosen ? 700 : null }, t.text)),
    draw("text", { x: (left + right) / 2, y: bottom + 37, "text-anchor": "middle" }, foot),
    draw("text", { transform: `translate(12 ${(top + bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, label),
    ...(at === null ? [] : [stroke(x(at), top, x(at), bottom, { class: "lth-at" })]),
    ...inside({ x, y, left, right }).filter((drawn) => drawn));
  return x;
}

/** A line with its band, through the points that there are; their place is their number. */
function trace({ name, colour, shape }, points, x, y) {
  const there = points.flatMap((p, i) => (p ? [{ ...p, i }] : []));
  const banded = there.filter((p) => p.low !== null);
  const at = (end) => (p) => `${x(p.i)},${y(p[end])}`;
  return [
    banded.length > 1 ? draw("polygon", { points: [...banded.map(at("low")), ...banded.toReversed().map(at("high"))].join(" "),
      fill: colour, "fill-opacity": 0.2 }) : null,
    // A band has no width at a single step: a bar there.
    banded.length === 1 ? draw("line", { x1: x(banded[0].i), x2: x(banded[0].i), y1: y(banded[0].low), y2: y(banded[0].high),
      stroke: colour, "stroke-width": 6, "stroke-opacity": 0.3 }) : null,
    draw("g", { "data-line": name },
      draw("polyline", { points: there.map(at("mean")).join(" "), fill: "none", stroke: colour, "stroke-width": 2.5 }),
      ...(shape ? there.map((p) => symbol({ shape, colour }, x(p.i), y(p.mean))) : [])),
  ];
}

/** What has no rewind step: a line across, with its interval. */
function across({ name, colour, dash, mean, low, high }, left, right, y) {
  return [
    low === null ? null : draw("rect", { x: left, width: right - left, y: y(high), height: y(low) - y(high), fill: colour, "fill-opacity": 0.2 }),
    draw("line", { "data-band": name, x1: left, x2: right, y1: y(mean), y2: y(mean), stroke: colour, "stroke-width": 2, "stroke-dasharray": dash }),
  ];
}

const swatch = ({ colour, dash }) => draw("svg", { width: 30, height: 14, "aria-hidden": "true" },
  draw("line", { x1: 0, x2: 30, y1: 7, y2: 7, stroke: colour, "stroke-width": 2.5, "stroke-dasharray": dash }));

export default { render };
