// A supermask of a density to choose. Weights are fixed, whole numbers; the mask alone changes.

const TILES = 12;  // hidden units in one picture
const COLOURS = { positive: "#0173b2", negative: "#de8f05" };
const LOOKS = ["circle", "square", "triangle"];

async function render({ model, el }) {
  const spec = model.get("spec");
  const known = unpack(spec, await inflate(bytes(model)));
  const [first] = spec.layers;
  const [units] = first.shape;
  const lines = spec.kinds.map(({ name, colour, accuracy }, i) => ({
    name, colour, shape: LOOKS[i],
    points: accuracy.map((mean, stop) => ({ remaining: spec.densities[stop], mean })),
  }));
  const state = { stop: spec.start, kind: "learned", view: "pixels read", from: 0 };
  const change = (name) => (value) => { state[name] = value; show(); };

  const slider = make("input", {
    type: "range", min: 0, max: spec.densities.length - 1, step: 1, value: state.stop, "aria-label": "density",
    oninput: () => change("stop")(Number(slider.value)),
  });
  const kinds = choice("mask", spec.kinds.map(({ name }) => name), state.kind, change("kind"));
  [...kinds.children].forEach((label, i) => label.append(key(lines[i])));
  const select = make("select", { "aria-label": "hidden units", onchange: () => change("from")(Number(select.value)) },
    ...Array.from({ length: Math.ceil(units / TILES) }, (_, i) => make("option", { value: TILES * i },
      `${TILES * i + 1} to ${Math.min(units, TILES * (i + 1))}`)));
  const chosen = make("label", {}, "Units", select);
  const headline = make("p", {});
  const accuracy = make("output", { class: "lth-accuracy" });
  const status = make("p", { class: "lth-status", "aria-live": "polite" });
  const canvas = make("canvas", { role: "img" });
  const scale = make("div", { class: "lth-scale" });
  const figure = draw("svg", { class: "lth-chart", role: "img" });
  el.append(make("div", { class: "lth lth-supermask", "data-lth": "supermask" },
    spec.title && make("p", { class: "lth-title" }, spec.title),
    make("div", { class: "lth-controls" }, make("label", { class: "lth-wide" }, "Density", slider)),
    headline,
    make("div", { class: "lth-controls" }, kinds),
    make("div", { class: "lth-columns" },
      make("div", {}, make("p", { class: "lth-now" }, accuracy, ` of ${spec.images} test images of ${spec.data} right`), status,
        make("div", {}, figure)),
      make("div", {},
        make("div", { class: "lth-controls" }, choice("picture", ["pixels read", "weights of units"], state.view, change("view")), chosen),
        canvas, scale))));

  let turn = 0;  // only the last move of the slider is computed to its end

  /** Draws at once, and runs the network in the next frame. */
  function show() {
    const { stop, kind } = state;
    const share = percent(spec.densities[stop] / 100);
    headline.replaceChildren(make("strong", {}, `${share} of each layer kept`),
      `, ${whole(spec.kept[stop])} of ${whole(spec.size)} weights.`);
    slider.setAttribute("aria-valuetext", `${share} of the weights kept`);
    const kept = known.layers.map((layer) => keep(layer, kind, stop));
    picture(kept[0]);
    curves();
    accuracy.classList.add("lth-waiting");
    const mine = ++turn;
    requestAnimationFrame(() => setTimeout(() => { if (mine === turn) tell(kept); }));
  }

  function tell(kept) {
    const { stop, kind } = state;
    const hits = right(known, known.layers.map((layer, i) => columns(layer, kept[i])));
    accuracy.textContent = `${((100 * hits) / spec.images).toFixed(1)}%`;
    accuracy.classList.remove("lth-waiting");
    const others = spec.kinds.filter(({ name }) => name !== kind).map((k) => `${k.name} ${k.accuracy[stop].toFixed(1)}%`);
    status.textContent = `${kind} mask, ${percent(spec.densities[stop] / 100)} kept: ${hits} of ${spec.images} right; ${others.join(", ")}.`;
  }

  function curves() {
    const ring = lines.find(({ name }) => name === state.kind).points[state.stop];
    figure.setAttribute("aria-label", `accuracy against density for three masks; ringed: ${state.kind}, ${percent(ring.remaining / 100)}`);
    chart(figure, {
      label: "accuracy (%)", numbers: NUMBERS.accuracy, sparsest: Math.min(...spec.densities), ends: [0, 100], ring, at: ring.remaining,
      lines: lines.map((line) => ({ ...line, faint: line.name !== state.kind })),
    });
  }

  function picture(kept) {
    const tiles = state.view !== "pixels read";
    chosen.style.display = tiles ? "" : "none";
    const swatch = (colour) => make("span", { class: "lth-swatch", style: `background: ${colour}` });
    if (tiles) {
      const counts = paintTiles(canvas, known.layers[0], kept, spec.pixels, state.from);
      const last = Math.min(units, state.from + TILES);
      canvas.setAttribute("aria-label", `input weights of hidden units ${state.from + 1} to ${last}, ` +
        `a tile each: ${whole(counts.positive)} kept positive, ${whole(counts.negative)} kept negative, ${whole(counts.pruned)} pruned`);
      scale.replaceChildren(swatch(COLOURS.positive), "kept, positive", swatch(COLOURS.negative), "kept, negative",
        swatch("var(--lth-faint)"), "pruned");
      return;
    }
    const read = readBy(known.layers[0], kept);
    // One scale for the mask and its controls.
    const all = spec.kinds.flatMap(({ name }) => [...readBy(known.layers[0], keep(known.layers[0], name, state.stop))]);
    const [least, most] = [Math.min(...all), Math.max(...all)];
    const { colour } = lines.find(({ name }) => name === state.kind);
    paintCounts(canvas, read, spec.pixels, least, most, colour);
    canvas.setAttribute("aria-label", `how many of ${units} hidden units read each pixel: ${Math.min(...read)} to ${Math.max(...read)}`);
    scale.replaceChildren(String(least), make("span", { class: "lth-ramp", style: `background: linear-gradient(to right, transparent, ${colour})` }),
      `${most} of ${units} units read the pixel`);
  }

  show();
  return widths(el.firstElementChild, curves);
}

// Masks ------------------------------------------------------------------------------------------

/** Layers, images and labels from the bytes that follow one another. */
function unpack(spec, all) {
  let at = 0;
  const take = (n) => { at += n; return all.subarray(at - n, at); };
  const layers = spec.layers.map((layer) => {
    const size = layer.shape[0] * layer.shape[1];
    const values = Int8Array.from(take(size));
    const words = mixed(size, layer.key);
    const sorted = words.slice().sort();
    return { ...layer, values, places: take(size), words, limits: layer.counts.map((count) => sorted[count - 1]) };
  });
  const pixels = spec.pixels[0] * spec.pixels[1];
  const images = Array.from({ length: spec.images }, () => take(pixels));
  return { layers, images, labels: take(spec.images), steps: spec.steps, shift: spec.shift };
}

/** One 32-bit word for each position: their order is the random one of _supermask.py. */
function mixed(n, key) {
  const words = new Uint32Array(n);
  for (let i = 0; i < n; i++) {
    let x = (Math.imul(i, 0x9e3779b1) + key) | 0;
    x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
    x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
    words[i] = x ^ (x >>> 16);
  }
  return words;
}

/** Which weights of a layer a mask keeps, a byte each. */
function keep({ values, places, bounds, counts, words, limits }, kind, stop) {
  const kept = new Uint8Array(values.length);
  if (kind === "random") {
    for (let i = 0; i < kept.length; i++) kept[i] = words[i] <= limits[stop] ? 1 : 0;
    return kept;
  }
  // The lowest rank that stands at each place.
  const ranks = [0, ...bounds];
  const inside = Uint8Array.from(ranks, (rank) =>
    (kind === "learned" ? rank < counts[stop] : rank >= values.length - counts[stop]));
  for (let i = 0; i < kept.length; i++) kept[i] = inside[places[i]];
  return kept;
}

/** For each input of a layer, the units that read it and with which weights; and weights by unit. */
function columns({ shape: [units, inputs], values }, kept) {
  const starts = new Uint32Array(inputs + 1);
  const sums = new Float64Array(units);
  for (let unit = 0, i = 0; unit < units; unit++) for (let input = 0; input < inputs; input++, i++) {
    if (!kept[i]) continue;
    starts[input + 1] += 1;
    sums[unit] += values[i];
  }
  for (let input = 0; input < inputs; input++) starts[input + 1] += starts[input];
  const next = starts.slice();
  const [readers, weights] = [new Uint16Array(starts[inputs]), new Float64Array(starts[inputs])];
  for (let unit = 0, i = 0; unit < units; unit++) for (let input = 0; input < inputs; input++, i++) {
    if (!kept[i]) continue;
    readers[next[input]] = unit;
    weights[next[input]++] = values[i];
  }
  return { starts, sums, readers, weights };
}

/** How many images the network reads right; of equal outputs the first is its answer. */
function right({ images, labels, steps, shift }, layers) {
  const held = layers.map(({ sums }) => new Float64Array(sums.length));
  const pixels = new Float64Array(images[0].length);
  let hits = 0;
  images.forEach((image, n) => {
    for (let j = 0; j < pixels.length; j++) pixels[j] = steps * image[j];
    layers.forEach((layer, depth) => {
      const output = held[depth];
      for (let unit = 0; unit < output.length; unit++) output[unit] = depth === 0 ? -shift * layer.sums[unit] : 0;
      add(layer, depth === 0 ? pixels : held[depth - 1], output);
    });
    const output = held.at(-1);
    if (output.indexOf(Math.max(...output)) === labels[n]) hits += 1;
  });
  return hits;
}

/**
 * Adds what a layer makes of its input. A pruned weight costs nothing, nor does an input of zero:
 * pixels come without the mean, which is added for all at once, and what is below zero is what ReLU
 * takes for zero. All numbers are whole, so that their order makes no difference.
 */
function add({ starts, readers, weights }, input, output) {
  for (let j = 0; j < input.length; j++) {
    const value = input[j];
    if (value <= 0) continue;
    for (let k = starts[j], end = starts[j + 1]; k < end; k++) output[readers[k]] += weights[k] * value;
  }
}

// Pictures ---------------------------------------------------------------------------------------

/** For each pixel, how many units read it. */
function readBy({ shape: [units, inputs] }, kept) {
  const counts = new Uint32Array(inputs);
  for (let unit = 0, i = 0; unit < units; unit++) for (let input = 0; input < inputs; input++) counts[input] += kept[i++];
  return counts;
}

const channels = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));

function paintCounts(canvas, counts, [height, width], least, most, colour) {
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const rgb = channels(colour);
  counts.forEach((count, i) => image.data.set([...rgb, (255 * (count - least)) / (most - least || 1)], 4 * i));
  context.putImageData(image, 0, 0);
}

/** A tile for each of TILES units, four in a row; gives the counts of what is shown. */
function paintTiles(canvas, { shape: [units, inputs], values }, kept, [height, width], from) {
  Object.assign(canvas, { width: 4 * (width + 2) - 2, height: (TILES / 4) * (height + 2) - 2 });
  const context = canvas.getContext("2d");
  const counts = { positive: 0, negative: 0, pruned: 0 };
  const inks = { positive: [...channels(COLOURS.positive), 255], negative: [...channels(COLOURS.negative), 255], pruned: [128, 128, 128, 40] };
  for (let unit = from; unit < Math.min(units, from + TILES); unit++) {
    const tile = context.createImageData(width, height);
    for (let j = 0; j < inputs; j++) {
      const at = unit * inputs + j;
      const what = !kept[at] ? "pruned" : values[at] < 0 ? "negative" : "positive";
      counts[what] += 1;
      tile.data.set(inks[what], 4 * j);
    }
    const place = unit - from;
    context.putImageData(tile, (place % 4) * (width + 2), Math.floor(place / 4) * (height + 2));
  }
  return counts;
}

export default { render };
export { bytes, columns, inflate, keep, right, unpack };
