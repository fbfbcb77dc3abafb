// When units are at work and what lies in the scratchpad then, with one axis of cycles for both.

const LEFT = (width) => (width < 500 ? 78 : 104);
const ROW = 22, MAP = 190, LOWEST = 200;

function timelineSection(run) {
  const made = section("timeline", "Timeline",
    "Which unit is at work when, to the cycle, and below what lies in the scratchpad then. Drag " +
    "to move, pinch, or turn the wheel with Ctrl, to zoom. By keyboard: left and right move, plus " +
    "and minus zoom, Home shows all, comma and full stop go from instruction to instruction.");
  const total = run.totals.cycles;
  const view = { from: 0, to: total, at: -1 };
  const units = UNIT_NAMES.map((name, number) => [name, number])
    .filter(([, number]) => run.spans.some((span) => span[0] === number));
  const instructions = run.spans.filter((span) => UNIT_NAMES[span[0]] === "instruction");
  const readout = make("div", { class: "readout", role: "status", "aria-live": "polite" });

  const scale = (width) => {
    const left = LEFT(width), room = width - left - 6;
    return (cycle) => left + (cycle - view.from) / (view.to - view.from) * room;
  };

  function axis(svg, width, y) {
    const x = scale(width);
    for (const cycle of ticks(view.from, view.to, width / 110)) {
      draw(svg, "line", { class: "axis", x1: x(cycle), x2: x(cycle), y1: 0, y2: y });
      draw(svg, "text", { class: "soft", x: x(cycle) + 3, y: y + 13 }, compact(cycle));
    }
  }

  function clipped(svg, width, tall, id) {
    const clip = draw(svg, "clipPath", { id });
    draw(clip, "rect", { x: LEFT(width), y: 0, width: width - LEFT(width) - 6, height: tall });
    return draw(svg, "g", { "clip-path": `url(#${id})` });
  }

  const tracks = figure(units.length * ROW + 20, "Timeline of units", (svg, width) => {
    const x = scale(width), bottom = units.length * ROW;
    axis(svg, width, bottom);
    units.forEach(([name], row) => draw(svg, "text",
      { x: LEFT(width) - 8, y: row * ROW + 15, "text-anchor": "end" }, name));
    const inner = clipped(svg, width, bottom, "clip-tracks");
    const rows = new Map(units.map(([, number], row) => [number, row]));
    for (const [unit, start, cycles, index] of run.spans) {
      if (start > view.to || start + cycles < view.from) continue;
      const [kind, name, layer] = run.instructions[index];
      const rect = draw(inner, "rect", { class: index === view.at ? "hit on" : "hit",
        x: x(start), y: rows.get(unit) * ROW + 3, height: ROW - 6,
        width: Math.max(.4, x(start + cycles) - x(start)), fill: kindColour(kind),
        "data-index": index });
      withTip(rect, `${UNIT_NAMES[unit]}: ${kind} ${name}\n${layer}\n${whole(cycles)} cycles from ` +
        `${whole(start)}`);
      rect.addEventListener("click", () => go(index));
    }
  });

  const size = run.config.sram_kib * 1024;
  const map = figure(MAP + 20, "Scratchpad over time", (svg, width) => {
    const x = scale(width), y = (bytes) => MAP - bytes / size * (MAP - 8);
    axis(svg, width, MAP);
    for (const bytes of ticks(0, size / 1024, 4)) {
      draw(svg, "text", { class: "soft", x: LEFT(width) - 8, y: y(bytes * 1024) + 4,
                          "text-anchor": "end" }, `${bytes} KiB`);
    }
    draw(svg, "line", { class: "roof", x1: LEFT(width), x2: width - 6, y1: y(size), y2: y(size) });
    const inner = clipped(svg, width, MAP, "clip-map");
    run.residents.forEach(([name, address, bytes, start, cycles], number) => {
      if (start > view.to || start + cycles < view.from) return;
      const wide = x(start + cycles) - x(start), tall = y(address) - y(address + bytes);
      const rect = draw(inner, "rect", { class: "hit", x: x(start), y: y(address + bytes),
        width: Math.max(.4, wide), height: tall, fill: tensorColour(name, number),
        stroke: "var(--panel)", "stroke-width": wide > 4 ? 1 : 0 });
      withTip(rect, `${name}\n${whole(bytes)} bytes from ${whole(address)}\n${whole(cycles)} ` +
        `cycles from ${whole(start)}`);
      if (wide > 8 * name.length && tall > 14) {
        draw(inner, "text", { x: Math.max(x(start), LEFT(width)) + 4, y: y(address + bytes) + 13,
                              style: "fill:#000", "pointer-events": "none" }, name);
      }
    });
  });

  function repaint() { tracks.repaint(); map.repaint(); }

  function zoom(factor, center = (view.from + view.to) / 2) {
    const span = Math.min(total, Math.max(LOWEST, (view.to - view.from) * factor));
    const share = (center - view.from) / (view.to - view.from);
    show(center - share * span, span);
  }

  function show(from, span) {
    view.from = Math.max(0, Math.min(from, total - span));
    view.to = view.from + span;
    repaint();
  }

  function move(share) {
    const span = view.to - view.from;
    show(view.from + share * span, span);
  }

  function go(index) {
    const found = instructions.find((span) => span[3] === index);
    if (!found) return;
    const [, start, cycles] = found, [kind, name, layer] = run.instructions[index];
    view.at = index;
    if (start < view.from || start + cycles > view.to) {
      const span = Math.min(total, Math.max(view.to - view.from, 1.2 * cycles));
      show(start - (span - cycles) / 2, span);
    } else repaint();
    readout.textContent = `#${index} ${kind} ${name} ${layer && `(${layer})`}: ${whole(cycles)} ` +
      `cycles from ${whole(start)}`;
  }

  const actions = {
    ArrowLeft: () => move(-.2), ArrowRight: () => move(.2), "+": () => zoom(.5), "=": () => zoom(.5),
    "-": () => zoom(2), Home: () => show(0, total), ",": () => go(Math.max(0, view.at - 1)),
    ".": () => go(Math.min(run.instructions.length - 1, view.at + 1)) };
  const holder = make("div", { tabindex: 0, id: "timeline-view", role: "application",
    "aria-label": "Timeline; arrows move, plus and minus zoom, comma and full stop step",
    onkeydown: (event) => {
      const action = actions[event.key];
      if (action && !event.ctrlKey && !event.metaKey && !event.altKey) {
        event.preventDefault();
        action();
      }
    } }, tracks, map);
  drags(holder, view, zoom, show);

  const button = (id, text, label, action) => make("button",
    { type: "button", id, "aria-label": label, onclick: action }, text);
  made.append(
    make("div", { class: "bar" }, button("zoom-in", "+", "Zoom in", actions["+"]),
      button("zoom-out", "−", "Zoom out", actions["-"]),
      button("pan-left", "←", "Move left", actions.ArrowLeft),
      button("pan-right", "→", "Move right", actions.ArrowRight),
      button("zoom-all", "All", "Show all", actions.Home),
      button("step-back", "‹ instruction", "The instruction before", actions[","]),
      button("step-on", "instruction ›", "The next instruction", actions["."])),
    readout, holder,
    legend([["products", kindColour("GEMM")], ["LayerNorm", kindColour("NORM")],
            ["softmax", kindColour("SOFTMAX")], ["transfers, scales", kindColour("LOAD")],
            ["prediction", kindColour("PREDICT")],
            ...(run.about.scales === "jit" ? [["measuring", kindColour("MEASURE")],
                                              ["quantizing", kindColour("QUANTIZE")]] : [])]));
  return made;
}

function tensorColour(name, number) {
  const role = name.replace(/^\d+\./, "").replace(/\.\d+$/, "");
  const known = ["x", "qkv", "scores", "probs", "proj", "fc2", "fc1", "q", "k", "v"];
  const order = [7, 1, 3, 4, 2, 5, 6, 0, 0, 0];
  const place = known.indexOf(role);
  return place >= 0 ? colour(order[place])
    : role === "attended" || role === "embedding" ? colour(7) : colour(number);
}

// Pointers that move and zoom: one drags, two pinch, the wheel with Ctrl.
function drags(holder, view, zoom, show) {
  const down = new Map();
  const cycleAt = (clientX) => {
    const box = holder.getBoundingClientRect(), left = LEFT(box.width);
    const share = (clientX - box.left - left) / (box.width - left - 6);
    return view.from + share * (view.to - view.from);
  };
  holder.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    zoom(event.deltaY > 0 ? 1.25 : .8, cycleAt(event.clientX));
  }, { passive: false });
  holder.addEventListener("pointerdown", (event) => down.set(event.pointerId, event.clientX));
  addEventListener("pointerup", (event) => down.delete(event.pointerId));
  addEventListener("pointercancel", (event) => down.delete(event.pointerId));
  holder.addEventListener("pointermove", (event) => {
    if (!down.has(event.pointerId)) return;
    const before = down.get(event.pointerId), now = event.clientX;
    if (down.size === 1) {
      if (Math.abs(now - before) < 2) return;
      const box = holder.getBoundingClientRect(), span = view.to - view.from;
      show(view.from - (now - before) / (box.width - LEFT(box.width) - 6) * span, span);
    } else {
      const other = [...down].find(([id]) => id !== event.pointerId)[1];
      const factor = Math.abs(before - other) / Math.max(1, Math.abs(now - other));
      zoom(Math.min(2, Math.max(.5, factor)), cycleAt((now + other) / 2));
    }
    down.set(event.pointerId, now);
  });
}
