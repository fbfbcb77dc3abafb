// Roofline, traffic and energy.

function roles(run) {
  const found = new Map();
  for (const row of run.roles) {
    const name = row.layer || row.instruction;
    const sum = found.get(name) || { name, macs: 0, cycles: 0, sram: 0, dram: 0, energy: 0 };
    sum.macs += row.macs;
    sum.cycles += row.cycles;
    sum.sram += row.sram_bytes;
    sum.dram += row.dram_bytes;
    sum.energy += row.energy_pj;
    found.set(name, sum);
  }
  return [...found.values()];
}

function memorySpeed(run) {
  const given = run.options.bytes_per_cycle;
  return Math.min(run.config.bus_bytes, given || run.config.bus_bytes);
}

function rooflineSection(run) {
  const made = section("roofline", "Roofline",
    "Multiply-accumulates per cycle over those per byte of external memory, of each layer's " +
    "products, all blocks together. What the array can do in each mode is level; what memory " +
    "allows rises.");
  const points = roles(run).filter((row) => row.macs > 0 && row.dram > 0)
    .map((row) => ({ ...row, x: row.macs / row.dram, y: row.macs / row.cycles }));
  const lanes = run.config.rows * run.config.cols, speed = memorySpeed(run);
  const peaks = run.modes.map(([name, macs]) => [name, macs * lanes]);
  const top = Math.max(...peaks.map(([, peak]) => peak));
  const xs = [...points.map((p) => p.x), top / speed];
  const low = 10 ** Math.floor(Math.log10(Math.min(...xs) / 1.5));
  const high = 10 ** Math.ceil(Math.log10(Math.max(...xs) * 1.2));
  const ys = [...points.map((p) => p.y), ...peaks.map(([, peak]) => peak)];
  const bottom = 10 ** Math.floor(Math.log10(Math.min(...ys)));
  const ceiling = 10 ** Math.ceil(Math.log10(Math.max(...ys) * 1.05));
  made.append(figure(300, "Roofline", (svg, width, tall) => {
    const x = (v) => 46 + Math.log(v / low) / Math.log(high / low) * (width - 60);
    const y = (v) => tall - 34 - Math.log(v / bottom) / Math.log(ceiling / bottom) * (tall - 50);
    for (let v = low; v <= high * 1.01; v *= 10) {
      draw(svg, "line", { class: "axis", x1: x(v), x2: x(v), y1: y(ceiling), y2: y(bottom) });
      draw(svg, "text", { class: "soft", x: x(v), y: tall - 20, "text-anchor": "middle" }, compact(v));
    }
    for (let v = bottom; v <= ceiling * 1.01; v *= 10) {
      draw(svg, "line", { class: "axis", x1: x(low), x2: x(high), y1: y(v), y2: y(v) });
      draw(svg, "text", { class: "soft", x: 40, y: y(v) + 4, "text-anchor": "end" }, compact(v));
    }
    draw(svg, "text", { class: "soft", x: x(high), y: tall - 4, "text-anchor": "end" },
      "multiply-accumulates per byte of external memory");
    draw(svg, "text", { class: "soft", x: 52, y: 26 }, "per cycle");
    for (const [name, peak] of peaks) {
      const knee = Math.max(low, peak / speed);
      draw(svg, "path", { class: "roof", d: `M${x(Math.max(low, bottom / speed))},` +
        `${y(Math.max(bottom, low * speed))}L${x(knee)},${y(peak)}L${x(high)},${y(peak)}` });
      draw(svg, "text", { x: x(high) - 4, y: y(peak) - 4, "text-anchor": "end" },
        `${name} ${whole(peak)}`);
    }
    points.forEach((point, number) => {
      const dot = draw(svg, "circle", { class: "hit", cx: x(point.x), cy: y(point.y), r: 6,
        fill: colour(number), stroke: "var(--panel)" });
      withTip(dot, `${point.name}\n${point.x.toPrecision(3)} per byte, ` +
        `${point.y.toPrecision(4)} per cycle`);
    });
  }));
  made.append(legend(points.map((point, number) => [
    `${point.name}: ${point.y.toPrecision(3)} per cycle`, colour(number)])));
  return made;
}

function bars(rows, label, format) {
  const most = Math.max(...rows.map((row) => row.parts.reduce((sum, part) => sum + part.value, 0)));
  return figure(rows.length * 24 + 4, label, (svg, width) => {
    const left = Math.min(190, width * .42), room = width - left - 84;
    rows.forEach((row, number) => {
      const y = number * 24 + 2;
      draw(svg, "text", { x: left - 8, y: y + 15, "text-anchor": "end" }, row.name);
      let x = left, sum = 0;
      for (const part of row.parts) {
        const wide = most ? part.value / most * room : 0;
        const rect = draw(svg, "rect", { class: "hit", x, y: y + 2, width: wide, height: 18,
          fill: part.fill, stroke: "var(--panel)" });
        withTip(rect, `${row.name}\n${part.name}: ${format(part.value)}`);
        x += wide;
        sum += part.value;
      }
      draw(svg, "text", { class: "soft", x: x + 6, y: y + 15 }, format(sum));
    });
  });
}

function trafficSection(run) {
  const made = section("traffic", "Traffic",
    "Bytes of a frame that layers move, all blocks together: to and from external memory, and on " +
    "the chip.");
  const rows = roles(run).filter((row) => row.dram + row.sram > 0);
  const bytes = (value) => `${compact(value)}B`;
  for (const [name, key, fill] of [["External memory", "dram", colour(4)],
                                   ["Memories on chip", "sram", colour(0)]]) {
    const sorted = rows.filter((row) => row[key] > 0).sort((a, b) => b[key] - a[key]).slice(0, 14);
    made.append(make("h3", {}, name), bars(sorted.map((row) => ({ name: row.name,
      parts: [{ name, value: row[key], fill }] })), `${name} by layer`, bytes));
  }
  return made;
}

function energySection(runs) {
  const made = section("energy", "Energy",
    "Dynamic energy of a frame on a chip, by part; no leakage, no clock tree.");
  made.append(bars(runs.map((run) => ({ name: run.name,
    parts: PARTS.map(([part, name], number) => ({ name, fill: colour(number),
      value: run.totals.energy_pj[part] / 1e9 })) })), "Energy by part",
  (value) => `${value.toFixed(3)} mJ`));
  made.append(legend(PARTS.map(([, name], number) => [name, colour(number)])));
  return made;
}
