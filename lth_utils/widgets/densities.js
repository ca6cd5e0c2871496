// What is kept of each layer: a map over all levels, and beside each row a bar for one of them.

const MARK = "▸";

function render({ model, el }) {
  const spec = model.get("spec");
  const marked = spec.layers.flatMap(({ note }, i) => (note === null ? [] : [i]));
  const state = { scope: spec.scopes[0], at: spec.scopes[0].levels.length - 1, layer: Math.max(0, spec.layers.findIndex(({ note }) => note === null)) };

  const slider = make("input", { type: "range", min: 0, step: 1, "aria-label": "level of pruning",
    oninput: () => go({ at: Number(slider.value) }) });
  const scopes = spec.scopes.length < 2 ? null : make("div", { class: "lth-controls" }, make("span", {}, "Scope"),
    choice("scope", spec.scopes.map(({ name }) => name), state.scope.name, (name) => {
      const { remaining } = state.scope.levels[state.at];
      const scope = spec.scopes.find((other) => other.name === name);
      go({ scope, at: nearest(scope.levels.map((level) => Math.log(level.remaining / remaining))) });
    }));
  const headline = make("p", {});
  const figure = draw("svg", { role: "application", tabindex: 0,
    "aria-label": "Share kept of each layer, in rows, at each level, in columns. "
      + "The arrow keys up and down choose a layer, left and right a level." });
  const status = make("p", { class: "lth-status", "aria-live": "polite" });
  const marks = make("ul", { class: "lth-marks", "aria-label": "marked layers" });

  el.append(make("div", { class: "lth lth-densities", "data-lth": "densities" },
    spec.title && make("p", { class: "lth-title" }, spec.title),
    make("div", { class: "lth-controls" }, make("label", { class: "lth-wide" }, "Level", slider)),
    scopes, headline, make("div", { class: "lth-scale" }, `kept of a layer${bare(spec) ? " (blank: nothing)" : ""}`, legend(spec)), figure, status,
    marked.length ? marks : null));

  let places;  // {top, row, map: [left, right]}, to know what is pointed at

  function go(change) {
    Object.assign(state, change);
    show();
  }

  function show() {
    const { levels } = state.scope;
    const level = levels[state.at];
    slider.max = levels.length - 1;
    slider.value = state.at;
    const share = `${percent(level.remaining / 100)} of weights remaining`;
    slider.setAttribute("aria-valuetext", `level ${level.level}, ${share}`);
    headline.replaceChildren(make("strong", {}, `Level ${level.level}: ${share}`),
      level.replicates > 1 ? `, mean of ${level.replicates} replicates.` : ".");
    marks.replaceChildren(...marked.map((i) => make("li", {}, `${MARK} `, ...numbers(i, level))));
    status.replaceChildren(...numbers(state.layer, level));
    places = picture(figure, spec, state, level);
  }

  /** The exact numbers of a layer. */
  function numbers(i, level) {
    const { name, size, note } = spec.layers[i];
    const kept = level.kept[i];
    const head = make("strong", {}, note ? `${name} (${note}): ` : `${name}: `);
    if (!kept) return [head, "not counted at this level."];
    const [mean, low, high] = kept;
    const range = kept.length > 1 ? ` (range ${whole(low)} to ${whole(high)}, ${share(low / size)} to ${share(high / size)})` : "";
    return [head, `${whole(mean)} of ${whole(size)} weights kept, ${share(mean / size)}${range}.`];
  }

  function pointed(event) {
    const frame = figure.getBoundingClientRect();
    const scale = figure.viewBox.baseVal.width / frame.width;
    const [x, y] = [(event.clientX - frame.left) * scale, (event.clientY - frame.top) * scale];
    const layer = Math.floor((y - places.top) / places.row);
    if (layer < 0 || layer >= spec.layers.length) return {};
    const [left, right] = places.map;
    const at = Math.floor(((x - left) / (right - left)) * state.scope.levels.length);
    return at >= 0 && at < state.scope.levels.length ? { layer, at } : { layer };
  }

  figure.addEventListener("pointermove", (event) => {
    const { layer } = pointed(event);
    if (layer !== undefined && layer !== state.layer) go({ layer });
  });
  figure.addEventListener("click", (event) => go(pointed(event)));
  figure.addEventListener("keydown", (event) => {
    const down = { ArrowDown: 1, ArrowUp: -1 }[event.key] ?? 0;
    const right = { ArrowRight: 1, ArrowLeft: -1 }[event.key] ?? 0;
    if (!down && !right) return;
    event.preventDefault();
    const within = (i, n) => Math.max(0, Math.min(n - 1, i));
    go({ layer: within(state.layer + down, spec.layers.length), at: within(state.at + right, state.scope.levels.length) });
  });

  show();
  // The text keeps its size on a phone: the figure is drawn anew, not scaled.
  return widths(figure.parentElement, show);
}

const nearest = (distances) => {
  const far = distances.map(Math.abs);
  return far.indexOf(Math.min(...far));
};

/** A share in percent; of what is not all there it never says 100%. */
const share = (part) => (part > 0.9995 && part < 1 ? ">99.9%" : part === 0 ? "0%" : percent(part));

/** Where a share stands between the least of all (0) and everything (1), on a log axis. */
const place = (part, { least }) => Math.log(part / least) / Math.log(1 / least);

function colour(part, spec) {
  const last = spec.colours.length - 1;
  return spec.colours[Math.max(0, Math.min(last, Math.round(last * place(part, spec))))];
}

/** 1, 10, 100, … and three times as much, in percent, from what is least. */
const rounds = (least) => [100, 30, 10, 3, 1, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001].filter((t) => t >= 99.9 * least);

/** Map and bars: a row for each layer. */
function picture(figure, spec, { scope, at, layer }, level) {
  const { layers } = spec;
  const { levels } = scope;
  const width = Math.max(270, Math.min(960, figure.parentElement.clientWidth || 640));
  const row = layers.length > 24 ? 15 : 22;
  const small = { class: "lth-small" };
  const letter = 6.9;
  const most = Math.floor((0.3 * width) / letter);
  const names = layers.map(({ name, note }) => (note === null ? "" : `${MARK} `) + name).map((name) =>
    (name.length <= most ? name : `${name.slice(0, Math.ceil(most / 2) - 1)}…${name.slice(-Math.floor(most / 2))}`));
  const left = Math.max(...names.map((name) => name.length)) * letter + 8;
  const [right, top, bottom] = [width - 12, 6, 6 + row * layers.length];
  const middle = left + 0.56 * (right - left);
  const cell = (middle - left) / levels.length;
  const y = (i) => top + i * row;
  // Bars begin a little below the least, so that the least has one.
  const begin = middle + 18;
  const x = (part) => begin + 10 + Math.max(0, place(part, spec)) * (right - begin - 10);
  const text = (where, words) => draw("text", where, words);

  const parts = (i, of) => of.kept[i]?.map((kept) => kept / layers[i].size);
  const cells = levels.flatMap((of, column) => layers.map((_, i) => {
    const [mean] = parts(i, of) ?? [];
    const box = { x: left + column * cell, y: y(i), width: cell, height: row, "data-cell": `${i} ${of.level}` };
    return mean > 0 ? draw("rect", { ...box, fill: colour(mean, spec), "shape-rendering": "crispEdges" })
      : draw("rect", { ...box, class: "lth-none" });
  }));
  const bars = layers.flatMap((_, i) => {
    const [mean, low, high] = parts(i, level) ?? [];
    if (mean === undefined) return [];
    if (mean === 0) return [text({ ...small, x: begin, y: y(i) + row / 2 + 4 }, "none")];
    return [
      draw("rect", { "data-bar": layers[i].name, x: begin, y: y(i) + 0.15 * row, width: x(mean) - begin, height: 0.7 * row, fill: spec.bar }),
      low === undefined ? null
        : draw("line", { class: "lth-range", x1: x(Math.max(low, spec.least)), x2: x(high), y1: y(i) + row / 2, y2: y(i) + row / 2 }),
    ];
  });

  // Labels of columns, from the chosen one on, as many as fit.
  const kept = [];
  for (const i of [at, ...levels.keys()]) {
    const { remaining } = levels[i];
    const words = remaining < 9.95 ? String(Number(remaining.toPrecision(2))) : remaining.toFixed(0);
    const here = { i, words, x: left + (i + 0.5) * cell, half: 3.6 * words.length + 3 };
    if (kept.every((other) => Math.abs(other.x - here.x) > other.half + here.half)) kept.push(here);
  }
  const ticks = [];
  for (const t of [...rounds(spec.least).filter((t) => Number.isInteger(Math.log10(t))), ...rounds(spec.least)])
    if (ticks.every((other) => Math.abs(x(other / 100) - x(t / 100)) > 30)) ticks.push(t);
  const foot = { y: bottom + 36, "text-anchor": "middle", ...small };
  const net = x(level.remaining / 100);

  figure.setAttribute("viewBox", `0 0 ${width} ${bottom + 42}`);
  figure.setAttribute("width", width);
  figure.replaceChildren(
    draw("rect", { class: "lth-row", x: 0, width, y: y(layer), height: row }),
    ...names.map((name, i) => text({ ...small, x: left - 6, y: y(i) + row / 2 + 4, "text-anchor": "end",
      "font-weight": i === layer || layers[i].note !== null ? 700 : null }, name)),
    ...cells,
    ...ticks.flatMap((t) => [
      draw("line", { class: "lth-grid", x1: x(t / 100), x2: x(t / 100), y1: top, y2: bottom }),
      text({ ...small, x: x(t / 100), y: bottom + 16, "text-anchor": "middle" }, String(t))]),
    ...bars.filter((bar) => bar),
    draw("line", { class: "lth-whole", x1: net, x2: net, y1: top, y2: bottom }),
    ...["lth-halo", "lth-frame"].flatMap((name) => [
      draw("rect", { class: name, x: left, y: y(layer), width: middle - left, height: row }),
      draw("rect", { class: name, x: left + at * cell, y: top, width: cell, height: bottom - top })]),
    ...kept.map(({ i, words, x }) => text({ ...small, x, y: bottom + 16, "text-anchor": "middle", "font-weight": i === at ? 700 : null }, words)),
    text({ ...foot, x: (left + middle) / 2 }, "weights remaining (%)"),
    text({ ...foot, x: (begin + right) / 2 }, ofBars(right - begin, level)));
  return { top, row, map: [left, middle] };
}

/** What the bars are, in as many words as there is room for: long names of layers leave little. */
const ofBars = (room, { level }) =>
  room < 150 ? "kept (%)" : room < 280 ? "kept (%), dashed: network" : `kept of a layer (%), level ${level}; dashed: network`;

/** Whether a layer loses everything somewhere: that has no colour on a log scale. */
const bare = ({ scopes }) => scopes.some(({ levels }) => levels.some((level) => level.kept.some((kept) => kept?.[0] === 0)));

/** The scale of the colours, with its numbers. */
function legend(spec) {
  const [width, height] = [200, 12];
  const piece = width / spec.colours.length;
  const ends = rounds(spec.least).filter((t) => Number.isInteger(Math.log10(t)) || spec.least > 0.02);
  return draw("svg", { width: width + 50, height: 32, role: "img", "aria-label": `colours from ${percent(spec.least)} to 100%` },
    ...spec.colours.map((fill, i) => draw("rect", { x: 20 + i * piece, width: piece + 1, y: 0, height, fill, "shape-rendering": "crispEdges" })),
    ...ends.map((t) => draw("text", { x: 20 + width * place(t / 100, spec), y: 27, "text-anchor": "middle" }, `${t}%`)));
}

export default { render };
