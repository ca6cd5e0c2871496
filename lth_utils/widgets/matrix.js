// The treatment matrix: a button a cell. Every number comes from Python; here they are only told.

const LOOKS = [{ letter: "A", shape: "circle" }, { letter: "B", shape: "square" }];
const DEEPEST = 45;  // percent of the shade in the cell of the highest mean: words stay readable

function render({ model, el }) {
  const spec = model.get("spec");
  const numbers = NUMBERS[spec.metric];
  const names = spec.names;
  const sparsest = Math.min(...spec.levels.map(({ remaining }) => remaining));
  // Picked cells, by their place in spec.cells: A, which is compared with, and B.
  const start = spec.cells.findIndex(({ name }) => name === spec.baseline);
  const state = { at: spec.first, picked: [start, spec.cells.findIndex(({ name }) => name !== spec.baseline)] };

  const slider = make("input", {
    type: "range", min: 0, max: spec.levels.length - 1, step: 1, value: state.at, "aria-label": "weights remaining",
    oninput: () => { state.at = Number(slider.value); show(); },
  });
  const headline = make("p", {});
  const status = make("p", { class: "lth-status", "aria-live": "polite" });
  const legend = make("div", { class: "lth-legend" });
  const ramp = make("div", { class: "lth-scale lth-screen" });
  const figure = draw("svg", { class: "lth-chart", role: "img" });
  const buttons = spec.cells.map((_, i) => make("button", { type: "button", onclick: () => pick(i) }));
  const places = new Map(spec.cells.map(({ row, column }, i) => [`${row}\n${column}`, buttons[i]]));

  el.append(make("div", { class: "lth lth-matrix", "data-lth": "matrix" },
    spec.title && make("p", { class: "lth-title" }, spec.title),
    make("div", { class: "lth-controls" }, make("label", { class: "lth-wide" }, "Density", slider)),
    headline,
    make("div", { class: "lth-scroll" }, make("table", { class: "lth-cells" },
      make("thead", {}, make("tr", {}, make("td"), ...spec.columns.map((c) => make("th", { scope: "col" }, c)))),
      make("tbody", {}, ...spec.rows.map((row) => make("tr", {}, make("th", { scope: "row" }, row),
        ...spec.columns.map((column) => make("td", {}, places.get(`${row}\n${column}`) ?? "–"))))))),
    ramp, status, figure, legend));

  const point = (i, level) => names[spec.cells[i].name].points.find((p) => p.level === level);
  const called = (i) => names[spec.cells[i].name].name;

  /** A third cell takes B's place; one that is picked already is let go. */
  function pick(i) {
    state.picked = state.picked.includes(i) ? state.picked.filter((p) => p !== i) : [...state.picked.slice(0, 1), i];
    show();
  }

  function show() {
    const { level, remaining } = spec.levels[state.at];
    const share = percent(remaining / 100);
    const [dense] = spec.dense.points;
    headline.replaceChildren(make("strong", {}, `${share} of weights remaining`), ` (level ${level}): ${spec.label}`,
      dense ? `; dense ${tell(dense)}.` : ".");
    slider.setAttribute("aria-valuetext", `${share} of weights remaining, level ${level}`);
    const means = spec.cells.flatMap((_, i) => point(i, level)?.mean ?? []);
    const [low, high] = [Math.min(...means), Math.max(...means)];
    buttons.forEach((button, i) => {
      const at = point(i, level);
      const place = state.picked.indexOf(i);
      const depth = at && high > low ? Math.round((DEEPEST * (at.mean - low)) / (high - low)) : 0;
      button.style.setProperty("--lth-depth", `${depth}%`);
      button.setAttribute("aria-pressed", place >= 0);
      button.setAttribute("aria-label", `${called(i)}: ${at ? tell(at) : "not at this density"}`);
      button.title = called(i);
      button.replaceChildren(
        make("span", {}, place < 0 ? "" : make("strong", {}, `${LOOKS[place].letter} `), at ? numbers.say(at.mean) : "–"),
        make("small", {}, at && at.low !== null ? `${numbers.plain(at.low)} to ${numbers.plain(at.high)}` : "\u00a0"));
    });
    ramp.replaceChildren(...(high > low ? [numbers.say(low), make("span", { class: "lth-ramp" }), numbers.say(high)] : []));
    status.replaceChildren(...compared(level));
    curves(remaining);
  }

  const tell = (p) => `${numbers.say(p.mean)}${p.low === null ? ", one replicate"
    : `, 95% interval ${numbers.plain(p.low)} to ${numbers.plain(p.high)}, ${p.n} replicates`}`;

  /** The picked cells in words: nothing is computed but the sign of what is read backwards. */
  function compared(level) {
    if (state.picked.length < 2) {
      const one = state.picked.map((i) => `A is ${called(i)}. `);
      return [...one, "Pick two cells, and their seed-paired difference stands here; picking one again lets it go."];
    }
    const [a, b] = state.picked;
    if (spec.cells[a].name === spec.cells[b].name) return [`Both cells are ${called(a)}.`];
    const pair = spec.pairs.find(({ one, other }) => [one, other].every((n) => [a, b].some((i) => spec.cells[i].name === n)));
    const row = pair?.levels.find((p) => p.level === level);
    const head = make("strong", {}, `${called(b)} − ${called(a)}: `);
    if (!row) return [head, "no replicate has both at this density."];
    const forward = pair.one === spec.cells[b].name;
    const signed = (v) => {
      const text = numbers.plain(Math.abs(v));
      return /[1-9]/.test(text) ? `${(forward ? v : -v) < 0 ? "−" : "+"}${text}` : text;
    };
    const difference = `${signed(row.mean)}${numbers.unit}`;
    if (row.low === null) return [head, `${difference}, one replicate: no interval.`];
    const ends = (forward ? [row.low, row.high] : [row.high, row.low]).map(signed);
    const matches = row.matches[forward ? 0 : 1];
    return [head, `${difference} (95% interval ${ends.join(" to ")}), ${row.n} replicates: `,
      make("strong", {}, row.beyond ? "beyond noise" : "within noise"),
      matches === undefined ? "." : `; ${called(b)} ${matches ? "matches" : "does not match"} ${called(a)} (margin ${spec.margin}).`];
  }

  function curves(remaining) {
    const lines = state.picked.map((i, place) => ({ ...names[spec.cells[i].name], ...LOOKS[place] }));
    if (lines[1]?.colour === lines[0]?.colour && lines[1]) lines[1].colour = "currentColor";
    const [first] = spec.dense.points;
    const dense = first && { ...first, colour: spec.dense.colour };
    const shown = lines.map((line) => ({ ...line, points: [...spec.dense.points, ...line.points] }));
    figure.style.display = lines.length ? "" : "none";
    figure.setAttribute("aria-label", `${spec.label} against weights remaining: ${lines.map(({ name }) => name).join(" and ")}`);
    if (lines.length) chart(figure, { label: spec.label, numbers, sparsest, lines: shown, dense, at: remaining });
    legend.replaceChildren(...lines.map((line) => make("span", {}, key(line), `${line.letter}: ${line.name}`)),
      ...(dense && lines.length ? [make("span", {}, key({ colour: dense.colour }), "dense")] : []));
  }

  show();
  return widths(el.firstElementChild, show);
}

export default { render };
