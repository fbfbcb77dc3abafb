// Designs of an exploration: a scatter of two of their numbers, the front of these, and one picked.

const MEASURES = [["fps", "frames/s", true], ["energy_mj", "mJ of a frame", false],
  ["luts", "LUTs (model)", false], ["ffs", "flip-flops (model)", false],
  ["block_rams", "block RAMs", false], ["multipliers", "multipliers", false],
  ["cycles", "cycles", false], ["array_utilisation", "array's work needed", true],
  ["dram_bytes", "bytes of external memory", false], ["sram_kib", "scratchpad, KiB", false]];

function designRows(columns) {
  return columns.model.map((_, index) => Object.fromEntries(
    Object.entries(columns).map(([name, values]) => [name, values[index]])));
}

function designName(row) {
  return `${row.model} ${row.rows}x${row.cols}, ${row.sram_kib} KiB, ${row.memory}, ${row.bits}, ` +
    row.scales;
}

// Rows that no other is better than in both; in the order of the first.
function frontOf(rows, across, up) {
  const sign = (measure) => (measure[2] ? -1 : 1);
  const sorted = [...rows].sort((a, b) => sign(across) * (a[across[0]] - b[across[0]])
    || sign(up) * (a[up[0]] - b[up[0]]));
  const found = [];
  let best = Infinity;
  for (const row of sorted) {
    const cost = sign(up) * row[up[0]];
    if (cost < best) {
      best = cost;
      found.push(row);
    }
  }
  return found;
}

function designsSection(columns) {
  const made = section("designs", "Designs",
    "Every design that fits; the line joins those that no other is better than in both respects. " +
    "Click one, or go along them with the arrow keys; those on the front with Shift.");
  const all = designRows(columns), rows = all.filter((row) => row.fits);
  const bits = [...new Set(all.map((row) => row.bits))];
  const state = { across: MEASURES[2], up: MEASURES[0], picked: null };
  const readout = make("div", { class: "readout", role: "status", "aria-live": "polite",
                                id: "design-readout" });
  const shown = () => rows.filter((row) => row.meets || !onlyMeeting.checked);
  const onlyMeeting = make("input", { type: "checkbox", id: "only-meeting", onchange: () => update() });

  const plot = figure((width) => Math.max(280, Math.min(460, width * .5)), "Designs", (svg, width, tall) => {
    const known = shown(), { across, up } = state;
    if (!known.length) {
      draw(svg, "text", { x: 10, y: 30 }, "No design fits.");
      return;
    }
    const range = (measure) => {
      const values = known.map((row) => row[measure[0]]);
      const low = Math.min(...values), high = Math.max(...values), room = (high - low) * .06 || 1;
      return [Math.max(0, low - room), high + room];
    };
    const [x0, x1] = range(across), [y0, y1] = range(up);
    const x = (v) => 56 + (v - x0) / (x1 - x0) * (width - 66);
    const y = (v) => tall - 36 - (v - y0) / (y1 - y0) * (tall - 52);
    for (const v of ticks(x0, x1, width / 110)) {
      draw(svg, "line", { class: "axis", x1: x(v), x2: x(v), y1: 8, y2: tall - 36 });
      draw(svg, "text", { class: "soft", x: x(v), y: tall - 22, "text-anchor": "middle" }, compact(v));
    }
    for (const v of ticks(y0, y1, 6)) {
      draw(svg, "line", { class: "axis", x1: 56, x2: width - 10, y1: y(v), y2: y(v) });
      draw(svg, "text", { class: "soft", x: 50, y: y(v) + 4, "text-anchor": "end" }, compact(v));
    }
    draw(svg, "text", { x: width - 10, y: tall - 5, "text-anchor": "end" }, across[1]);
    draw(svg, "text", { x: 58, y: 14 }, up[1]);
    const best = frontOf(known, across, up);
    draw(svg, "path", { class: "front", d: best.map((row, at) =>
      `${at ? "L" : "M"}${x(row[across[0]])},${y(row[up[0]])}`).join("") });
    for (const row of known) {
      const onFront = best.includes(row);
      const dot = draw(svg, "path", { class: row === state.picked ? "hit on" : "hit",
        d: mark(bits.indexOf(row.bits), x(row[across[0]]), y(row[up[0]]), onFront ? 7 : 4.5),
        fill: colour(bits.indexOf(row.bits)), "fill-opacity": onFront ? 1 : .55,
        "data-front": onFront ? 1 : 0 });
      withTip(dot, `${designName(row)}\n${row.fps.toFixed(2)} frames/s, ` +
        `${row.energy_mj.toFixed(3)} mJ, ${whole(row.luts)} LUTs`);
      dot.addEventListener("click", () => pick(row));
    }
  });

  const details = make("div", { class: "tiles", id: "design-details" });

  function pick(row) {
    state.picked = row;
    plot.repaint();
    readout.textContent = row ? designName(row) : "";
    details.replaceChildren(...(row ? MEASURES.map(([key, name]) => make("div", {},
      make("b", {}, Number.isInteger(row[key]) ? whole(row[key]) : `${+row[key].toPrecision(4)}`),
      make("span", {}, name))) : []));
  }

  function step(by, onFront) {
    const known = onFront ? frontOf(shown(), state.across, state.up)
      : shown().sort((a, b) => a[state.across[0]] - b[state.across[0]]);
    if (!known.length) return;
    const at = known.indexOf(state.picked);
    pick(known[at < 0 ? 0 : Math.max(0, Math.min(known.length - 1, at + by))]);
  }

  function update() { pick(shown().includes(state.picked) ? state.picked : null); }

  const chosen = (id, title, key) => {
    const select = make("select", { id, onchange: () => {
      state[key] = MEASURES[select.value];
      update();
    } }, ...MEASURES.map(([, name], number) => make("option", { value: number }, name)));
    select.value = MEASURES.indexOf(state[key]);
    return make("label", {}, title, select);
  };
  const holder = make("div", { tabindex: 0, id: "design-view", role: "application",
    "aria-label": "Designs; arrows go along them, with Shift along the front",
    onkeydown: (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (by) {
        event.preventDefault();
        step(by, event.shiftKey);
      }
    } }, plot);
  made.append(make("div", { class: "bar" }, chosen("design-x", "Across", "across"),
    chosen("design-y", "Up", "up"),
    make("label", {}, onlyMeeting, "only those that keep to the constraints")),
  holder, legend(bits.map((name, number) => [`${name} ${"●▲■◆"[number % 4]}`, colour(number)])),
  readout, details, reasons(all));
  return made;
}

// A mark for each precision, so that colour is not needed.
function mark(number, x, y, r) {
  return [`M${x - r},${y}a${r},${r} 0 1 0 ${2 * r},0a${r},${r} 0 1 0 ${-2 * r},0Z`,
    `M${x},${y - r}L${x + r},${y + r}L${x - r},${y + r}Z`,
    `M${x - r},${y - r}h${2 * r}v${2 * r}h${-2 * r}Z`,
    `M${x},${y - 1.3 * r}L${x + 1.3 * r},${y}L${x},${y + 1.3 * r}L${x - 1.3 * r},${y}Z`][number % 4];
}

function reasons(all) {
  const counts = new Map();
  for (const row of all) {
    if (!row.fits) counts.set(row.reason, (counts.get(row.reason) || 0) + 1);
  }
  if (!counts.size) return make("p", { class: "note" }, `All ${all.length} fit.`);
  const sum = [...counts.values()].reduce((a, b) => a + b, 0);
  return make("details", {}, make("summary", {}, `${sum} of ${all.length} cannot be built or do ` +
    "not fit"), make("ul", { class: "plain" }, ...[...counts].sort((a, b) => b[1] - a[1])
    .map(([reason, count]) => make("li", {}, `${count}: ${reason}`))));
}
