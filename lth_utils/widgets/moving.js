// Masks that move: how many units read each pixel, at every step that was kept.

async function render({ model, el }) {
  const spec = model.get("spec");
  const packed = await inflate(bytes(model));
  const counts = new Uint16Array(packed.buffer, packed.byteOffset, packed.byteLength / 2);
  const [height, width] = spec.pixels;
  const last = spec.steps.length - 1;
  let at = 0, timer = null;

  const headline = make("p", { "aria-live": "polite" });
  const slider = make("input", {
    type: "range", min: 0, max: last, step: 1, value: at, "aria-label": "step of training",
    oninput: () => { pause(); at = Number(slider.value); show(); },
  });
  const button = make("button", { type: "button", onclick: play });
  const pointed = make("p", { class: "lth-screen lth-pointed" });
  const pictures = spec.arms.map((arm, i) => {
    const canvas = make("canvas", { role: "img", width, height });
    canvas.addEventListener("pointermove", (event) => point(event, canvas, i));
    canvas.addEventListener("pointerleave", () => { pointed.textContent = ""; });
    return canvas;
  });
  const rows = make("tbody");
  el.append(make("div", { class: "lth lth-moving", "data-lth": "moving" },
    spec.title && make("p", { class: "lth-title" }, spec.title),
    make("div", { class: "lth-controls" }, button, make("label", { class: "lth-wide" }, "Step", slider)),
    headline,
    make("div", { class: "lth-pictures" }, ...spec.arms.map((arm, i) =>
      make("figure", {}, make("figcaption", {}, arm.name), pictures[i]))),
    make("div", { class: "lth-scale" }, "0", make("span", { class: "lth-ramp" }), `${spec.most} units read the pixel`),
    pointed,
    make("table", { class: "lth-numbers" },
      make("thead", {}, make("tr", {}, ...["", "kept since the start", "pixels nobody reads"]
        .map((text) => make("th", { scope: "col" }, text)))), rows)));

  function frame(arm) {
    const from = (arm * spec.steps.length + at) * width * height;
    return counts.subarray(from, from + width * height);
  }

  function show() {
    slider.value = at;
    const moment = `iteration ${whole(spec.steps[at])} of ${whole(spec.steps[last])}`;
    headline.replaceChildren(make("strong", {}, moment));
    slider.setAttribute("aria-valuetext", moment);
    button.textContent = timer ? "Pause" : "Play";
    spec.arms.forEach((arm, i) => {
      paint(pictures[i], frame(i), spec.most);
      pictures[i].setAttribute("aria-label", `${arm.name}, ${moment}: how many units read each pixel`);
    });
    rows.replaceChildren(...spec.arms.map((arm) => make("tr", {},
      make("th", { scope: "row" }, arm.name),
      make("td", {}, `${percent(arm.since[at] / arm.kept)} of ${whole(arm.kept)}`),
      make("td", {}, whole(arm.unread[at])))));
  }

  function play() {
    if (timer) return pause(), show();
    if (at === last) at = 0;
    timer = setInterval(() => {
      if (at === last) pause(); else at += 1;
      show();
    }, 250);
    show();
  }

  function pause() {
    clearInterval(timer);
    timer = null;
  }

  function point(event, canvas, arm) {
    const box = canvas.getBoundingClientRect();
    const x = Math.min(width - 1, Math.floor(((event.clientX - box.left) / box.width) * width));
    const y = Math.min(height - 1, Math.floor(((event.clientY - box.top) / box.height) * height));
    if (x < 0 || y < 0) return;
    pointed.textContent = `${spec.arms[arm].name}, row ${y + 1}, column ${x + 1}: ${frame(arm)[y * width + x]} units read this pixel`;
  }

  show();
  return pause;
}

// Viridis at eleven places: as the picture that stands here where no script runs.
const MAP = ["#440154", "#482475", "#414487", "#355f8d", "#2a788e", "#21918c", "#22a884", "#44bf70", "#7ad151", "#bddf26", "#fde725"]
  .map((hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));

function paint(canvas, values, most) {
  const context = canvas.getContext("2d");
  const picture = context.createImageData(canvas.width, canvas.height);
  values.forEach((value, i) => {
    const place = (value / most) * (MAP.length - 1);
    const low = Math.min(Math.floor(place), MAP.length - 2);
    const mixed = MAP[low].map((channel, c) => channel + (place - low) * (MAP[low + 1][c] - channel));
    picture.data.set([...mixed, 255], 4 * i);
  });
  context.putImageData(picture, 0, 0);
}

export default { render };
