// What all figures share: elements, numbers in words, scales and axes, the tip beside the pointer.

const DATA = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";

function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

function draw(parent, name, attributes = {}, text = null) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== null) element.textContent = text;
  parent.append(element);
  return element;
}

function whole(value) { return Math.round(value).toLocaleString("en-US"); }

function compact(value) {
  for (const [suffix, size] of [["G", 1e9], ["M", 1e6], ["k", 1e3]]) {
    if (Math.abs(value) >= size) return `${+(value / size).toPrecision(3)}${suffix}`;
  }
  return `${+value.toPrecision(3)}`;
}

function percent(share) { return `${+(100 * share).toPrecision(3)} %`; }

function colour(number) { return `var(--c${number % 8})`; }

const UNIT_NAMES = Object.keys(DATA.units);

const PARTS = [["mac", "multiply-accumulates"], ["sram", "memories on chip"],
               ["dram", "external memory"], ["vector", "requantizing, rows"],
               ["scale", "range and scale unit"]];

const KINDS = ["GEMM", "NORM", "SOFTMAX", "LOAD", "PREDICT", "MEASURE", "QUANTIZE"];

function kindColour(kind) {
  const number = KINDS.indexOf(["PATCHES", "STORE", "SCALES", "END"].includes(kind) ? "LOAD" : kind);
  return colour(number < 0 ? 7 : number);
}

const TIP = document.getElementById("tip");

function showTip(event, text) {
  TIP.textContent = text;
  TIP.hidden = false;
  const box = TIP.getBoundingClientRect();
  TIP.style.left = `${Math.max(4, Math.min(event.clientX + 12, innerWidth - box.width - 4))}px`;
  TIP.style.top = `${event.clientY + 16 + box.height > innerHeight
    ? event.clientY - box.height - 10 : event.clientY + 16}px`;
}

function hideTip() { TIP.hidden = true; }

function withTip(element, text) {
  element.addEventListener("pointermove", (event) => showTip(event, text));
  element.addEventListener("pointerleave", hideTip);
}

function section(id, title, note) {
  const made = make("section", { id, "aria-labelledby": `${id}-title` },
    make("h2", { id: `${id}-title` }, title));
  if (note) made.append(make("p", { class: "note" }, note));
  return made;
}

function legend(entries) {
  const made = make("div", { class: "legend" });
  for (const [name, fill] of entries) {
    made.append(make("span", {}, make("i", { style: `background:${fill}` }), name));
  }
  return made;
}

// A figure that is drawn again when its width changes.
function figure(height, label, painter) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", label);
  let width = 0;
  svg.repaint = () => {
    const now = Math.round(svg.getBoundingClientRect().width);
    if (now < 50) return;
    width = now;
    const tall = typeof height === "function" ? height(width) : height;
    svg.setAttribute("viewBox", `0 0 ${width} ${tall}`);
    svg.setAttribute("height", tall);
    svg.replaceChildren();
    painter(svg, width, tall);
  };
  new ResizeObserver(() => {
    if (Math.round(svg.getBoundingClientRect().width) !== width) svg.repaint();
  }).observe(svg);
  return svg;
}

function niceStep(span, count) {
  const raw = span / Math.max(count, 1);
  const size = 10 ** Math.floor(Math.log10(raw));
  return [1, 2, 5, 10].map((n) => n * size).find((step) => step >= raw);
}

function ticks(low, high, count) {
  if (!(high > low)) return [low];
  const step = niceStep(high - low, count), found = [];
  for (let at = Math.ceil(low / step) * step; at <= high * (1 + 1e-12); at += step) {
    found.push(+(Math.round(at / step) * step).toPrecision(12));
  }
  return found;
}
