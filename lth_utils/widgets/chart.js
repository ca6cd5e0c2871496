// A metric against weights remaining, for figures that draw a few lines of it.

const TICKS = [100, 50, 20, 10, 5, 2, 1, 0.5, 0.2, 0.1];
const SHAPES = { circle: "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0", square: "M-4-4h8v8h-8z", triangle: "M0-5L5 4H-5z" };
const NUMBERS = {
  accuracy: { say: (v) => `${v.toFixed(2)}%`, plain: (v) => v.toFixed(2), unit: " points", tick: (v) => String(Number(v.toFixed(6))) },
  loss: { say: (v) => v.toFixed(4), plain: (v) => v.toFixed(4), unit: "", tick: (v) => String(Number(v.toFixed(6))) },
  step: { say: (v) => whole(v), plain: (v) => whole(v), unit: " iterations", tick: (v) => whole(v) },
};

/**
 * Draws into an svg that is as wide as its parent.
 *
 * lines: {name, colour, shape, faint, points: [{remaining, mean, low, high}]}, low and high may be
 * null; dense: null or such a point with a colour, a dashed line across; at: where a line stands
 * for the present density; ring: the point to ring.
 */
function chart(figure, { label, numbers, sparsest, lines, dense = null, at = null, ring = null, ends = null }) {
  const width = Math.max(270, Math.min(720, figure.parentElement.clientWidth || 640));
  const height = Math.round(Math.max(230, 0.42 * width));
  const points = [...lines.flatMap((line) => line.points), ...(dense ? [dense] : [])];
  const values = ends ?? points.flatMap((p) => [p.mean, p.low ?? p.mean, p.high ?? p.mean]);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const room = 0.05 * (high - low || Math.abs(high) || 1);
  const marks = steps(low - room, high + room);
  const box = {
    left: 34 + 7.5 * Math.max(...marks.map((t) => numbers.tick(t).length)),
    right: width - 12, top: 10, bottom: height - 46,
  };
  const y = (v) => box.bottom - ((v - low + room) / (high - low + 2 * room)) * (box.bottom - box.top);
  const [from, to] = [Math.log(112), Math.log(sparsest / 1.12)];
  const x = (v) => box.left + ((from - Math.log(v)) / (from - to)) * (box.right - box.left);
  const stroke = (x1, y1, x2, y2, more) => draw("line", { x1, y1, x2, y2, ...more });
  const text = (where, words) => draw("text", where, words);
  const grid = { class: "lth-grid" };

  figure.setAttribute("viewBox", `0 0 ${width} ${height}`);
  figure.setAttribute("width", width);
  figure.replaceChildren(
    ...TICKS.filter((t) => t >= sparsest / 1.1).flatMap((t) => [
      stroke(x(t), box.top, x(t), box.bottom, grid),
      text({ x: x(t), y: box.bottom + 18, "text-anchor": "middle" }, String(t))]),
    ...marks.flatMap((t) => [
      stroke(box.left, y(t), box.right, y(t), grid),
      text({ x: box.left - 7, y: y(t) + 4, "text-anchor": "end" }, numbers.tick(t))]),
    text({ x: (box.left + box.right) / 2, y: box.bottom + 39, "text-anchor": "middle" }, "weights remaining (%)"),
    text({ transform: `translate(13 ${(box.top + box.bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, label),
    at === null ? "" : stroke(x(at), box.top, x(at), box.bottom, { class: "lth-at" }),
    dense && dense.low !== null ? draw("rect", {
      x: box.left, width: box.right - box.left, y: y(dense.high), height: y(dense.low) - y(dense.high),
      fill: dense.colour, "fill-opacity": 0.2 }) : "",
    dense ? stroke(box.left, y(dense.mean), box.right, y(dense.mean),
      { stroke: dense.colour, "stroke-width": 2, "stroke-dasharray": "7 5" }) : "",
    ...lines.filter((line) => line.points.every((p) => p.low != null)).map((line) => draw("polygon", {
      points: [...line.points.map((p) => [x(p.remaining), y(p.low)]),
        ...line.points.toReversed().map((p) => [x(p.remaining), y(p.high)])].join(" "),
      fill: line.colour, "fill-opacity": 0.2 })),
    ...lines.map((line) => draw("g", { "data-line": line.name, opacity: line.faint ? 0.55 : null },
      draw("polyline", {
        points: line.points.map((p) => [x(p.remaining), y(p.mean)]).join(" "),
        fill: "none", stroke: line.colour, "stroke-width": line.faint ? 1.5 : 2.5 }),
      ...line.points.map((p) => symbol(line, x(p.remaining), y(p.mean))))),
    ring ? draw("circle", { class: "lth-ring", cx: x(ring.remaining), cy: y(ring.mean), r: 9 }) : "");
}

const symbol = ({ shape, colour }, x, y) => draw("path", { d: SHAPES[shape], fill: colour, transform: `translate(${x} ${y})` });

/** How a line looks, to stand beside its name. */
function key({ shape, colour }) {
  const dash = shape ? {} : { "stroke-dasharray": "6 4" };
  return draw("svg", { width: 30, height: 14, "aria-hidden": "true" },
    draw("line", { x1: 0, x2: 30, y1: 7, y2: 7, stroke: colour, "stroke-width": 2, ...dash }),
    shape ? symbol({ shape, colour }, 15, 7) : "");
}

/** Round numbers between two ends, about six. */
function steps(low, high) {
  const rough = (high - low) / 6;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, i) => (first + i) * step);
}
