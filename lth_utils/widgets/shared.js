// What the figures share. This text stands before that of each figure.

const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes, listeners (onclick, …) and children. */
function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same for what is drawn. */
function draw(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

/** One of several named choices, as radio buttons in a row. */
function choice(label, options, chosen, pick) {
  const name = `lth-${Math.random().toString(36).slice(2)}`;
  const buttons = options.map((option) =>
    make("label", {},
      make("input", { type: "radio", name, value: option, checked: option === chosen, onchange: () => pick(option) }),
      option));
  return make("fieldset", { class: "lth-choice", "aria-label": label }, ...buttons);
}

function toggle(label, checked, pick, ...more) {
  const box = make("input", { type: "checkbox", checked, onchange: () => pick(box.checked) });
  return make("label", {}, box, ...more, label);
}

function bytes(model) {
  const view = model.get("data");
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

async function inflate(packed) {
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

const whole = (n) => Math.round(n).toLocaleString("en-GB");
const percent = (share) => `${(100 * share).toPrecision(share < 0.0995 ? 2 : 3)}%`;

/** Calls back when an element's width has changed: a chart is drawn anew, not scaled. */
function widths(element, again) {
  let before = element.clientWidth;
  const observer = new ResizeObserver(() => {
    const now = element.clientWidth;
    if (now !== before) again();
    before = now;
  });
  observer.observe(element);
  return () => observer.disconnect();
}
