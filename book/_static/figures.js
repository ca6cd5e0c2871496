// Shows the figures of a page without a kernel, and asks nobody for anything.
//
// A figure of this book carries its own script and data in the page (lth_utils.widgets). Other
// Jupyter widgets need the 4 MB of Jupyter's own viewer, which is loaded only where there is one.

const STATE = 'script[type="application/vnd.jupyter.widget-state+json"]';
const VIEW = 'script[type="application/vnd.jupyter.widget-view+json"]';
const VIEWER = [
  "requirejs@2.3.8/require.js",
  "@jupyter-widgets/html-manager@1.0.15/dist/embed-amd.js",
];

// Several panels side by side get a box in which they scroll on a phone (custom.css), where they
// would otherwise be too small to read.
document.addEventListener("DOMContentLoaded", () => {
  for (const image of document.querySelectorAll(".cell_output figure > img")) {
    const box = () => {
      if (image.naturalWidth < 1.8 * image.naturalHeight) return;
      const wide = document.createElement("div");
      wide.className = "wide";
      image.replaceWith(wide);
      wide.append(image);
    };
    if (image.complete) box();
    else image.addEventListener("load", box, { once: true });
  }
});

document.addEventListener("DOMContentLoaded", async () => {
  const holder = document.querySelector(STATE);
  if (!holder) return;
  const saved = JSON.parse(holder.textContent);
  const own = (id) => saved.state[id]?.model_module === "anywidget";
  const scripts = [...document.querySelectorAll(VIEW)];
  const id = (script) => JSON.parse(script.textContent).model_id;
  const others = scripts.filter((script) => !own(id(script)));
  await Promise.allSettled(scripts.filter((s) => own(id(s))).map((s) => show(s, saved.state[id(s)])));
  if (others.length === 0) return;

  // The viewer would look for the figures' models as well.
  for (const name of Object.keys(saved.state)) if (own(name)) delete saved.state[name];
  holder.textContent = JSON.stringify(saved).replaceAll("<", "\\u003c");
  // The viewer asks MathJax for formulas in labels in the way of version 2.
  if (window.MathJax) {
    window.MathJax.Hub ??= { Queue: ([, , label]) => window.MathJax.typesetPromise?.([label]) };
  }
  for (const file of VIEWER) await load(file);
  if (document.readyState === "complete") window.dispatchEvent(new Event("load"));
});

/** Puts a figure in the place of its script and of the picture that stands before it. */
async function show(script, { state, buffers }) {
  for (const { path, data } of buffers ?? []) {
    const whole = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
    state[path[0]] = new DataView(whole.buffer);
  }
  const model = { get: (name) => state[name], set() {}, save_changes() {}, on() {}, off() {} };
  const address = URL.createObjectURL(new Blob([state._esm], { type: "text/javascript" }));
  const { default: figure } = await import(address);
  URL.revokeObjectURL(address);
  if (!document.querySelector(`style[data-figure="${state._anywidget_id}"]`)) {
    const style = document.createElement("style");
    style.dataset.figure = state._anywidget_id;
    style.textContent = state._css;
    document.head.append(style);
  }
  const el = document.createElement("div");
  const picture = script.previousElementSibling;
  script.replaceWith(el);
  await figure.render({ model, el });
  if (picture?.matches("img.lth-picture")) picture.remove();
}

/** The site's own copy (book/vendor.py), or where it has none the usual address. */
function load(file) {
  const from = (address) => new Promise((resolve, reject) => {
    const script = document.createElement("script");
    Object.assign(script, { src: address, onload: resolve, onerror: reject });
    document.head.append(script);
  });
  const copy = file.replace(/^@[^/]+\//, "").replace(/@[^/]+/, "");
  return from(`${document.documentElement.dataset.content_root}_static/vendor/${copy}`)
    .catch(() => from(`https://cdn.jsdelivr.net/npm/${file}`));
}
