// The mask explorer. Each weight comes as one byte: the level that removes it, or KEPT.

const KEPT = 255;
const KINDS = ["ticket", "random mask"];

async function render({ model, el }) {
  const spec = model.get("spec");
  const arrays = split(spec, await inflate(bytes(model)));
  const last = spec.kept.length - 1;
  const state = { level: last, kind: "ticket", layer: spec.layers[0].name, view: "pixels read" };

  const headline = make("p", { "aria-live": "polite" });
  const canvas = make("canvas", { role: "img" });
  const scale = make("div", { class: "lth-scale" });
  const pointed = make("p", { class: "lth-screen lth-pointed" });
  const layers = make("tbody");
  const counts = make("tbody");
  const change = (name) => (value) => { state[name] = value; show(); };

  const slider = make("input", {
    type: "range", min: 0, max: last, step: 1, value: last, "aria-label": "level of pruning",
    oninput: () => change("level")(Number(slider.value)),
  });
  const select = make("select", { "aria-label": "layer", onchange: () => change("layer")(select.value) },
    ...spec.layers.map(({ name }) => make("option", { value: name }, short(name))));
  const view = choice("picture", ["pixels read", "connections"], state.view, change("view"));

  el.append(make("div", { class: "lth lth-masks", "data-lth": "masks" },
    spec.title && make("p", { class: "lth-title" }, spec.title),
    make("div", { class: "lth-controls" },
      make("label", { class: "lth-wide" }, "Level", slider)),
    headline,
    make("div", { class: "lth-controls" },
      choice("mask", KINDS, state.kind, change("kind")),
      spec.layers.length > 1 && make("label", {}, "Layer", select) || null, view),
    make("div", { class: "lth-columns" },
      make("div", {}, canvas, scale, pointed),
      make("div", {},
        make("table", { class: "lth-numbers" },
          make("thead", {}, make("tr", {}, ...["layer", "density", "kept"].map(heading))), layers),
        make("table", { class: "lth-numbers" },
          make("thead", {}, make("tr", {}, ...["", ...KINDS].map(heading))), counts)))));
  canvas.addEventListener("pointermove", point);
  canvas.addEventListener("pointerleave", () => { pointed.textContent = ""; });
  let image;  // what the canvas shows: {width, height, values, most, words}

  function show() {
    const { level, kind, layer } = state;
    const share = spec.kept[level] / spec.size;
    headline.replaceChildren(
      make("strong", {}, `Level ${level} of ${last}: ${percent(share)} of weights remaining`),
      `, ${whole(spec.kept[level])} of ${whole(spec.size)}.`);
    slider.setAttribute("aria-valuetext", `level ${level}, ${percent(share)} of weights remaining`);
    const shown = spec.layers.find(({ name }) => name === layer);
    const picturable = spec.pixels.length > 0 && layer === spec.first;
    view.style.display = picturable ? "" : "none";
    const read = KINDS.map((k) => inputsRead(shown, arrays[k][layer], level));
    const fed = KINDS.map((k) => unitsFed(shown, arrays[k][layer], level));
    const at = KINDS.indexOf(kind);
    if (picturable && state.view === "pixels read") {
      const most = Math.max(...read[0], ...read[1], 1);  // one scale for ticket and control
      image = { width: spec.pixels[1], height: spec.pixels[0], values: read[at], most, words: "units read this pixel" };
    } else {
      const kept = arrays[kind][layer].map((removed) => (removed > level ? 1 : 0));
      image = { width: kept.length / shown.shape[0], height: shown.shape[0], values: kept, most: 1, words: "" };
    }
    paint(canvas, image, spec.colours[kind]);
    const what = image.words ? "how many units still read each pixel" : `connections of ${layer}, a row for each unit`;
    canvas.setAttribute("aria-label", `${kind}, level ${level}: ${what}`);
    scale.replaceChildren(...legend(image, spec.colours[kind]));
    layers.replaceChildren(...spec.layers.map(({ name }) => layerRow(name, arrays[kind][name], level, spec.colours[kind])));
    const inputs = picturable ? "pixels that no unit reads" : "inputs that no unit reads";
    counts.replaceChildren(
      countRow(inputs, read.map(zeros), at), countRow(`units of ${short(layer)} with no input`, fed.map(zeros), at));
  }

  function point(event) {
    const box = canvas.getBoundingClientRect();
    const x = Math.min(image.width - 1, Math.floor(((event.clientX - box.left) / box.width) * image.width));
    const y = Math.min(image.height - 1, Math.floor(((event.clientY - box.top) / box.height) * image.height));
    if (x < 0 || y < 0) return;
    const value = image.values[y * image.width + x];
    pointed.textContent = image.words
      ? `row ${y + 1}, column ${x + 1}: ${value} ${image.words}`
      : `unit ${y + 1}, input ${x + 1}: ${value ? "kept" : "removed"}`;
  }

  show();
}

const heading = (text) => make("th", { scope: "col" }, text);
const zeros = (values) => values.filter((value) => value === 0).length;
const short = (layer) => layer.replace(/\.weight$/, "");

/** {kind: {layer: Uint8Array}} from all arrays in a row. */
function split(spec, all) {
  let at = 0;
  return Object.fromEntries(KINDS.map((kind) => [kind, Object.fromEntries(spec.layers.map(({ name, shape }) => {
    const size = shape.reduce((a, b) => a * b);
    at += size;
    return [name, all.subarray(at - size, at)];
  }))]));
}

/** For each input (of a convolution: each channel and place), how many units read it. */
function inputsRead({ shape }, removed, level) {
  const inputs = removed.length / shape[0];
  const counts = new Uint32Array(inputs);
  removed.forEach((at, i) => { if (at > level) counts[i % inputs] += 1; });
  return counts;
}

/** For each unit, how many inputs it has left. */
function unitsFed({ shape }, removed, level) {
  const inputs = removed.length / shape[0];
  return Uint32Array.from({ length: shape[0] }, (_, unit) =>
    removed.subarray(unit * inputs, (unit + 1) * inputs).reduce((n, at) => n + (at > level), 0));
}

function paint(canvas, { width, height, values, most }, colour) {
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  const picture = context.createImageData(width, height);
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  values.forEach((value, i) => picture.data.set([red, green, blue, (255 * value) / most], 4 * i));
  context.putImageData(picture, 0, 0);
}

function legend({ most, words }, colour) {
  if (!words) return [make("span", { class: "lth-swatch", style: `background: ${colour}` }), "kept"];
  const ramp = `background: linear-gradient(to right, transparent, ${colour})`;
  return ["0", make("span", { class: "lth-ramp", style: ramp }), `${most} units read the pixel`];
}

function layerRow(name, removed, level, colour) {
  const kept = removed.reduce((n, at) => n + (at > level), 0);
  const share = kept / removed.length;
  const bar = make("span", { class: "lth-bar" },
    make("span", { style: `width: ${100 * share}%; background: ${colour}` }));
  return make("tr", {}, make("th", { scope: "row" }, short(name)),
    make("td", {}, make("span", { class: "lth-share" }, bar, percent(share))),
    make("td", {}, `${whole(kept)} of ${whole(removed.length)}`));
}

function countRow(what, values, shown) {
  const cells = values.map((value, i) => make("td", {}, make(i === shown ? "strong" : "span", {}, whole(value))));
  return make("tr", {}, make("th", { scope: "row" }, what), ...cells);
}

export default { render };
