// Tables that sort by any of their columns, and the comparison of runs.

// Columns are [title, key or function of a row, how it is shown, whether it is text].
function sortable(columns, rows, options = {}) {
  const body = make("tbody"), heads = [];
  const value = (row, [, key]) => (typeof key === "function" ? key(row) : row[key]);
  let sorted = { column: -1, down: true };
  const fill = () => {
    const order = [...rows];
    if (sorted.column >= 0) {
      const column = columns[sorted.column], sign = sorted.down ? -1 : 1;
      order.sort((a, b) => {
        const [left, right] = [value(a, column), value(b, column)];
        if (left === null || right === null) return (left === null) - (right === null);
        return sign * (typeof left === "string" ? left.localeCompare(right, "en", { numeric: true })
          : left - right);
      });
    }
    body.replaceChildren(...order.map((row) => {
      const cells = columns.map((column) => {
        const found = value(row, column);
        return make("td", { class: column[3] ? "text" : null },
          found === null || found === undefined ? "" : column[2] ? column[2](found) : `${found}`);
      });
      return make("tr", { class: options.picked && options.picked(row) ? "picked" : null }, ...cells);
    }));
    heads.forEach((head, number) => head.setAttribute("aria-sort", number !== sorted.column
      ? "none" : sorted.down ? "descending" : "ascending"));
    heads.forEach((head, number) => {
      head.firstChild.textContent = columns[number][0]
        + (number !== sorted.column ? "" : sorted.down ? " ▾" : " ▴");
    });
  };
  columns.forEach((column, number) => {
    heads.push(make("th", { scope: "col", class: column[3] ? "text" : null },
      make("button", { type: "button", onclick: () => {
        sorted = { column: number, down: sorted.column === number ? !sorted.down : !column[3] };
        fill();
      } }, column[0])));
  });
  fill();
  const table = make("table", {}, make("thead", {}, make("tr", {}, ...heads)), body);
  table.refill = (changed) => { rows = changed; fill(); };
  return table;
}

const millijoules = (pj) => (pj / 1e9).toFixed(4);

function layersSection(run) {
  const made = section("layers", "Layers",
    "Instructions of a layer, heads added up. A heading sorts by its column.");
  const columns = [
    ["layer", "layer", null, true], ["tensor", "name", null, true],
    ["instruction", "instruction", null, true], ["x", "count", whole], ["cycles", "cycles", whole],
    ["share", (row) => row.cycles / run.totals.cycles, percent],
    ["array busy", (row) => (row.macs ? row.array_cycles / row.cycles : null), percent],
    ["MACs", "macs", (macs) => (macs ? compact(macs) : "")],
    ["SRAM bytes", "sram_bytes", compact], ["DRAM bytes", "dram_bytes", compact],
    ["mJ", "energy_pj", millijoules]];
  const table = sortable(columns, run.layers);
  table.id = "layer-table";
  const said = make("span", { class: "readout", role: "status" });
  const filter = make("input", { type: "search", id: "layer-filter", placeholder: "attn, GEMM, …",
    oninput: () => {
      const wanted = filter.value.toLowerCase().split(/\s+/);
      const rows = run.layers.filter((row) => wanted.every((word) =>
        `${row.layer} ${row.name} ${row.instruction}`.toLowerCase().includes(word)));
      table.refill(rows);
      const cycles = rows.reduce((sum, row) => sum + row.cycles, 0);
      said.textContent = `${rows.length} rows, ${whole(cycles)} cycles, ` +
        percent(cycles / run.totals.cycles);
    } });
  made.append(make("div", { class: "bar" }, make("label", {}, "Only", filter), said),
    make("div", { class: "wide tall", tabindex: 0, role: "region",
                  "aria-label": "Table of layers" },
      table));
  return made;
}

function runsSection(runs, current) {
  const made = section("runs", "Runs", runs.length > 1
    ? "What each takes for a frame; “more” is against the first." : null);
  const first = runs[0].totals;
  const more = (key) => (run) => (key(run.totals) / key(first) - 1);
  const signed = (share) => `${share >= 0 ? "+" : "−"}${Math.abs(100 * share).toFixed(1)} %`;
  const columns = [
    ["run", "name", null, true], ["cycles", (run) => run.totals.cycles, whole],
    ["more", more((totals) => totals.cycles), signed],
    ["frames/s", (run) => run.totals.fps, (fps) => fps.toFixed(2)],
    ["mJ", (run) => run.totals.energy_mj, (mj) => mj.toFixed(3)],
    ["more", more((totals) => totals.energy_mj), signed],
    ["array busy", (run) => run.totals.array_busy, percent],
    ["needed", (run) => run.totals.array_utilisation, percent],
    ["SRAM bytes", (run) => run.totals.sram_bytes, compact],
    ["DRAM bytes", (run) => run.totals.dram_bytes, compact],
    ["scales", (run) => run.totals.scale_cycles_share, percent]];
  const table = sortable(columns, runs, { picked: (run) => runs.length > 1 && run === current });
  table.id = "run-table";
  made.append(make("div", { class: "wide", tabindex: 0, role: "region",
                            "aria-label": "Table of runs" }, table));
  return made;
}

function summarySection(run) {
  const made = section("summary", "Summary");
  const totals = run.totals, config = run.config;
  const used = Math.max(0, ...run.residents.map(([, address, bytes]) => address + bytes));
  const tiles = [
    ["frames/s", totals.fps.toFixed(2)], ["cycles", whole(totals.cycles)],
    ["energy of a frame", `${totals.energy_mj.toFixed(3)} mJ`],
    ["array busy", percent(totals.array_busy)], ["of its work needed", percent(totals.array_utilisation)],
    ["multiply-accumulates", compact(totals.macs)],
    ["external memory", `${compact(totals.dram_bytes)}B`],
    ["memories on chip", `${compact(totals.sram_bytes)}B`],
    ["scratchpad used", `${Math.ceil(used / 1024)} of ${config.sram_kib} KiB`],
    ["waiting for operands", percent(totals.stall_cycles / totals.cycles)],
    ["scales, of all cycles", percent(totals.scale_cycles_share)],
    ["clock", `${run.options.clock_mhz} MHz`]];
  made.append(
    make("p", { class: "note" }, `${run.name}, from ${run.source}`),
    make("div", { class: "tiles" }, ...tiles.map(([name, value]) => make("div", {},
      make("b", {}, value), make("span", {}, name)))),
    make("ul", { class: "plain" }, ...run.assumptions.map((line) => make("li", {}, line))));
  return made;
}
