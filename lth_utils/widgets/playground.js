// The playground: a pad to draw a digit on, and networks that read it here, in the page.

const SIDE = 280;  // of the pad, in its own pixels
const PEN = 22;

function render({ model, el }) {
  const spec = model.get("spec");
  const networks = unpack(spec, bytes(model));
  const examples = tensor(spec, bytes(model), "examples");
  const labels = spec.examples;

  const pad = make("canvas", {
    width: SIDE, height: SIDE, tabindex: 0, role: "application",
    "aria-label": "Pad to draw a digit on. Arrow keys move the pen, space puts it down or lifts it.",
  });
  const ink = pad.getContext("2d", { willReadFrequently: true });
  const seen = make("canvas", { width: 28, height: 28, role: "img", "aria-label": "what the networks see, 28 by 28 pixels" });
  const status = make("p", { class: "lth-status lth-screen", "aria-live": "polite" });
  const pen = { x: SIDE / 2, y: SIDE / 2, down: false };
  const ring = make("span", { class: "lth-pen", hidden: true });
  const cards = spec.networks.map((network) => card(network, spec.networks[0].weights));
  let example = null;  // index of the stored digit on the pad, null once it is the reader's own
  let last = -1;

  el.append(make("div", { class: "lth lth-playground", "data-lth": "playground" },
    make("div", { class: "lth-desk" },
      make("div", { class: "lth-paper" },
        make("div", { class: "lth-sheet" }, pad, ring),
        make("div", { class: "lth-controls" },
          make("button", { type: "button", onclick: clear }, "Clear"),
          make("button", { type: "button", onclick: show }, "Show me a digit")),
        make("div", { class: "lth-seen" }, seen, make("span", {}, "what the networks see: 28 × 28 pixels, centred"))),
      make("div", { class: "lth-cards" }, ...cards.map(({ element }) => element))),
    status));

  // What the pad holds ------------------------------------------------------------------------

  function clear() {
    ink.clearRect(0, 0, SIDE, SIDE);
    example = null;
    answer();
  }

  function show() {
    last = (last + 1) % labels.length;
    const small = make("canvas", { width: 28, height: 28 });
    paint(small, examples.subarray(784 * last, 784 * (last + 1)));
    ink.clearRect(0, 0, SIDE, SIDE);
    ink.drawImage(small, 0, 0, SIDE, SIDE);
    example = last;
    answer();
  }

  function stroke(x, y) {
    if (example !== null) clear();
    ink.lineCap = ink.lineJoin = "round";
    ink.lineWidth = PEN;
    ink.beginPath();
    ink.moveTo(pen.x, pen.y);
    ink.lineTo(x, y);
    ink.stroke();
    Object.assign(pen, { x, y });
    answer();
  }

  function answer() {
    const pixels = example === null
      ? centred(alpha(ink.getImageData(0, 0, SIDE, SIDE).data))
      : examples.subarray(784 * example, 784 * (example + 1));
    paint(seen, pixels ?? new Uint8Array(784));
    const input = pixels && normalise(pixels, spec);
    const said = networks.map((network, i) => {
      const shares = input && softmax(logits(network, input));
      return cards[i].tell(shares);
    });
    const what = example === null ? "" : `A test digit, a ${labels[example]}. `;
    status.textContent = pixels ? `${what}${said.join("; ")}.` : "Draw a digit: with a mouse, a finger, a pen or the arrow keys.";
  }

  // Pens: mouse, finger, keys -------------------------------------------------------------------

  function place(event) {
    const box = pad.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * SIDE, ((event.clientY - box.top) / box.height) * SIDE];
  }

  let drawing = false;
  pad.addEventListener("pointerdown", (event) => {
    const [x, y] = place(event);
    pad.setPointerCapture(event.pointerId);
    drawing = true;
    Object.assign(pen, { x, y });
    stroke(x, y);
  });
  pad.addEventListener("pointermove", (event) => {
    if (drawing) for (const part of event.getCoalescedEvents?.() ?? [event]) stroke(...place(part));
  });
  for (const end of ["pointerup", "pointercancel"]) pad.addEventListener(end, () => { drawing = false; });

  pad.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: [-10, 0], ArrowRight: [10, 0], ArrowUp: [0, -10], ArrowDown: [0, 10] }[event.key];
    if (!by && event.key !== " ") return;
    event.preventDefault();
    if (event.key === " ") {
      pen.down = !pen.down;
      if (pen.down) stroke(pen.x, pen.y);
    } else {
      const [x, y] = [pen.x + by[0], pen.y + by[1]].map((v) => Math.max(0, Math.min(SIDE, v)));
      if (pen.down) stroke(x, y);
      else Object.assign(pen, { x, y });
    }
    follow();
  });
  pad.addEventListener("focus", () => { if (pad.matches(":focus-visible")) follow(); });
  pad.addEventListener("blur", () => { ring.hidden = true; pen.down = false; });

  function follow() {
    ring.hidden = false;
    ring.classList.toggle("lth-down", pen.down);
    ring.style.left = `${(100 * pen.x) / SIDE}%`;
    ring.style.top = `${(100 * pen.y) / SIDE}%`;
  }

  show();
}

/** A network's card: what it is, what it answers, and a bar for every class. */
function card(network, dense) {
  const bars = Array.from({ length: 10 }, (_, digit) => {
    const bar = make("span", { style: `background: ${network.colour}` });
    return { bar, element: make("div", { class: "lth-class" }, make("div", { class: "lth-column" }, bar), String(digit)) };
  });
  const chart = make("div", { class: "lth-classes", role: "img" }, ...bars.map(({ element }) => element));
  const verdict = make("output", {}, "–");
  const share = network.weights < dense ? ` (${percent(network.weights / dense)})` : "";
  const element = make("section", { "data-network": network.name, "aria-label": network.title },
    make("div", {},
      make("strong", { style: `border-color: ${network.colour}` }, network.title),
      make("p", {}, `${whole(network.weights)} weights${share}`),
      make("p", {}, `test accuracy ${network.accuracy.toFixed(2)}%`)),
    verdict, chart);

  /** Show the shares of ten classes, or null; gives a phrase. */
  function tell(shares) {
    const best = shares ? shares.indexOf(Math.max(...shares)) : -1;
    verdict.textContent = shares ? String(best) : "–";
    bars.forEach(({ bar, element: column }, digit) => {
      bar.style.height = `${shares ? 100 * shares[digit] : 0}%`;
      column.classList.toggle("lth-best", digit === best);
    });
    if (!shares) {
      chart.setAttribute("aria-label", "no answer yet");
      return "";
    }
    const sure = `${Math.round(100 * shares[best])}%`;
    chart.setAttribute("aria-label", `${best}, ${sure} sure`);
    return `${network.title}: ${best} (${sure})`;
  }
  return { element, tell };
}

// From ink to what MNIST looks like ---------------------------------------------------------------

const alpha = (rgba) => Uint8Array.from({ length: rgba.length / 4 }, (_, i) => rgba[4 * i + 3]);

/**
 * As MNIST was made: the ink's box scaled to fit 20 × 20, then laid on 28 × 28 so that its centre
 * of mass lies in the middle. Null where there is no ink.
 */
function centred(ink) {
  const side = Math.sqrt(ink.length);
  let [left, right, top, bottom] = [side, -1, side, -1];
  ink.forEach((value, i) => {
    if (value < 32) return;
    const [x, y] = [i % side, Math.floor(i / side)];
    [left, right, top, bottom] = [Math.min(left, x), Math.max(right, x), Math.min(top, y), Math.max(bottom, y)];
  });
  if (right < 0) return null;
  const [width, height] = [right - left + 1, bottom - top + 1];
  const scale = Math.max(width, height) / 20;  // ink pixels a small pixel
  let [mass, mx, my] = [0, 0, 0];
  for (let y = top; y <= bottom; y++) for (let x = left; x <= right; x++) {
    const value = ink[y * side + x];
    mass += value;
    mx += value * (x + 0.5);
    my += value * (y + 0.5);
  }
  const [x0, y0] = [mx / mass - 14 * scale, my / mass - 14 * scale];
  return Uint8Array.from({ length: 784 }, (_, i) =>
    mean(ink, side, x0 + (i % 28) * scale, y0 + Math.floor(i / 28) * scale, scale));
}

/** The mean of a square of the ink, from 8 × 8 samples; beyond the pad there is none. */
function mean(ink, side, left, top, size) {
  let total = 0;
  for (let a = 0.5; a < 8; a++) for (let b = 0.5; b < 8; b++) {
    const [x, y] = [Math.floor(left + (a / 8) * size), Math.floor(top + (b / 8) * size)];
    if (x >= 0 && y >= 0 && x < side && y < side) total += ink[y * side + x];
  }
  return total / 64;
}

const normalise = (pixels, { mean, std }) => Float32Array.from(pixels, (value) => (value / 255 - mean) / std);

function paint(canvas, pixels) {
  const context = canvas.getContext("2d");
  const picture = context.createImageData(28, 28);
  pixels.forEach((value, i) => { picture.data[4 * i + 3] = value; });
  context.putImageData(picture, 0, 0);
}

// Networks ----------------------------------------------------------------------------------------

/** A recorded tensor: whole bytes, or half floats as numbers. */
function tensor(spec, data, name) {
  const { at, shape, type } = spec.tensors[name];
  const size = shape.reduce((a, b) => a * b, 1);
  if (type === "uint8") return data.subarray(at, at + size);
  const view = new DataView(data.buffer, data.byteOffset + at, 2 * size);
  return Float32Array.from({ length: size }, (_, i) => half(view.getUint16(2 * i, true)));
}

function half(bits) {
  const [sign, exponent, fraction] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** Each network as layers of rows: where a unit's weights begin, which inputs they read, values. */
function unpack(spec, data) {
  return spec.networks.map(({ name }) => Object.entries(spec.layers).map(([layer, [units, inputs]]) => {
    const values = tensor(spec, data, `${name}/${layer}`);
    const mask = values.length < units * inputs ? tensor(spec, data, `mask/${layer}`) : null;
    const [starts, reads] = [new Uint32Array(units + 1), new Uint16Array(values.length)];
    let found = 0;
    for (let i = 0; i < units * inputs; i++) {
      if (!mask || (mask[i >> 3] >> (7 - (i & 7))) & 1) reads[found++] = i % inputs;
      if (i % inputs === inputs - 1) starts[(i + 1) / inputs] = found;
    }
    return { starts, reads, values, bias: tensor(spec, data, `${name}/${layer.replace("weight", "bias")}`) };
  }));
}

/** The outputs of a network for 784 normalised pixels. A pruned weight costs nothing. */
function logits(network, pixels) {
  return network.reduce((input, { starts, reads, values, bias }, depth) => {
    const output = Float32Array.from(bias);
    for (let unit = 0; unit < bias.length; unit++) {
      let sum = bias[unit];
      for (let k = starts[unit]; k < starts[unit + 1]; k++) sum += values[k] * input[reads[k]];
      output[unit] = depth < network.length - 1 ? Math.max(0, sum) : sum;
    }
    return output;
  }, pixels);
}

function softmax(values) {
  const most = Math.max(...values);
  const powers = Array.from(values, (v) => Math.exp(v - most));
  const total = powers.reduce((a, b) => a + b);
  return powers.map((p) => p / total);
}

export default { render };
export { bytes, centred, logits, normalise, unpack };
