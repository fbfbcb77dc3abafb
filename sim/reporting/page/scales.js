// Scales of each site over images: for each method a line from the low to the high percentile, with
// a mark at the median.

const GLYPHS = "●▲■◆○△□◇";

function siteKind(name) { return name.split(".").pop(); }

function octaves(value) {
  const text = value.toFixed(2);
  return +text === 0 ? "0.00" : text.replace("-", "−");
}

function scalesSection(all) {
  const made = section("scales", "Scales",
    "log2 of the scale of each site, over images: a mark at the median, and a line between the " +
    "outer percentiles; a static scale is a mark alone. Click a site, or go along them with the " +
    "arrow keys.");
  const state = { of: all[0], kind: "", shown: new Set(), relative: false, at: -1 };
  const readout = make("div", { class: "readout", role: "status", "aria-live": "polite",
                                id: "scale-readout" });
  const methods = () => state.of.methods.map((method, number) => ({ ...method, number }))
    .filter(({ number }) => state.shown.has(number));
  const sites = () => state.of.sites.map((name, number) => ({ name, number }))
    .filter(({ name }) => state.kind === "all" || siteKind(name) === state.kind);
  const reference = () => state.of.methods.find(({ method }) => method === state.of.oracle)
    || state.of.methods[0];
  const spread = (method, site) => {
    const zero = state.relative ? reference().spread[site][1] : 0;
    return method.spread[site].map((value) => value - zero);
  };
  const LINE = 13, GAP = 9, HEAD = 18, FOOT = 36;
  const rowHeight = () => GAP + LINE * Math.max(1, state.shown.size);
  const tall = () => HEAD + sites().length * rowHeight() + FOOT;

  const plot = figure(tall, "Scales of sites over images", (svg, width, height) => {
    const every = methods(), rows = sites(), row = rowHeight();
    const values = rows.flatMap(({ number }) => every.flatMap((one) => spread(one, number)));
    if (!values.length) {
      draw(svg, "text", { x: 10, y: 24 }, "No method is chosen.");
      return;
    }
    const low = Math.min(...values), high = Math.max(...values), room = (high - low) * .04 || .5;
    const left = 66, bottom = height - FOOT;
    const x = (v) => left + (v - low + room) / (high - low + 2 * room) * (width - left - 12);
    rows.forEach(({ number }, place) => {
      const band = draw(svg, "rect", { class: number === state.at ? "hit band on" : "hit band",
        x: 1, y: HEAD + place * row + 1, width: width - 2, height: row - 2, rx: 3 });
      band.addEventListener("click", () => pick(number));
      withTip(band, said(number).replaceAll("; ", "\n"));
    });
    for (const v of ticks(low - room, high + room, width / 90)) {
      draw(svg, "line", { class: "axis grid", x1: x(v), x2: x(v), y1: HEAD, y2: bottom });
      for (const y of [HEAD - 5, bottom + 14]) {
        draw(svg, "text", { class: "soft", x: x(v), y, "text-anchor": "middle" },
          compact(v).replace("-", "−"));
      }
    }
    draw(svg, "text", { class: "soft", x: width - 12, y: height - 5, "text-anchor": "end" },
      state.relative ? `log2 of the scale, less the median of ${reference().title}`
        : "log2 of the scale");
    rows.forEach(({ name, number }, place) => {
      const top = HEAD + place * row;
      draw(svg, "text", { class: "label", x: left - 8, y: top + row / 2 + 4,
                          "text-anchor": "end" }, name);
      every.forEach((method, line) => {
        const y = top + GAP / 2 + LINE * (line + .5), [from, middle, to] = spread(method, number);
        const ink = colour(method.number), hollow = method.number % 8 > 3;
        draw(svg, "line", { class: "spread", x1: x(from), x2: x(to), y1: y, y2: y, stroke: ink,
                            "data-site": name, "data-method": method.method });
        draw(svg, "path", { class: "median", d: mark(method.number, x(middle), y, 4.5), stroke: ink,
                            fill: hollow ? "var(--panel)" : ink });
      });
    });
  });

  function said(site) {
    return [state.of.sites[site], ...methods().map((method) => {
      const [from, middle, to] = spread(method, site).map(octaves);
      return `${method.title} ${middle}` + (from === to ? "" : ` (${from} to ${to})`);
    })].join("; ");
  }

  function pick(site) {
    state.at = site;
    plot.repaint();
    readout.textContent = site < 0 ? "" : said(site);
  }

  function step(by) {
    const known = sites().map(({ number }) => number), at = known.indexOf(state.at);
    pick(known[at < 0 ? 0 : Math.max(0, Math.min(known.length - 1, at + by))]);
  }

  const table = make("div", { class: "wide tall", tabindex: 0, role: "region",
                              "aria-label": "Table of scales" });
  const kinds = make("select", { id: "scale-kind", onchange: () => {
    state.kind = kinds.value;
    update();
  } });
  const boxes = make("div", { class: "bar", role: "group", "aria-label": "Methods" });
  const note = make("p", { class: "note" }), zero = make("span", {});

  function fillTable() {
    const [low, middle, high] = state.of.percentiles.map((of) => `${of} %`);
    const rows = sites().flatMap(({ name, number }) => methods().map((method) => {
      const [from, median, to] = spread(method, number);
      return { name, title: method.title, from, median, to, wide: to - from };
    }));
    const filled = sortable([["site", "name", null, true], ["method", "title", null, true],
      [low, "from", octaves], [middle, "median", octaves], [high, "to", octaves],
      ["between", "wide", octaves]], rows);
    filled.id = "scale-table";
    table.replaceChildren(filled);
  }

  function update() {
    fillTable();
    pick(sites().some(({ number }) => number === state.at) ? state.at : -1);
  }

  function compare(of) {
    const names = [...new Set(of.sites.map(siteKind))];
    Object.assign(state, { of, shown: new Set(of.shown), at: -1,
      kind: names.includes(state.kind) ? state.kind : names[0] });
    kinds.replaceChildren(...names.map((name) => make("option", { value: name }, name)),
      make("option", { value: "all" }, "all sites"));
    kinds.value = state.kind;
    boxes.replaceChildren(...of.methods.map(({ method, title }, number) => {
      const box = make("input", { type: "checkbox", id: `scale-${method}`, onchange: () => {
        if (box.checked) state.shown.add(number);
        else state.shown.delete(number);
        update();
      } });
      box.checked = state.shown.has(number);
      return make("label", {}, box, make("b", { style: `color:${colour(number)}`,
        "aria-hidden": "true" }, GLYPHS[number % 8]), title);
    }));
    zero.textContent = `less the median of ${reference().title}`;
    note.textContent = `${of.name}, ${whole(of.images)} images, from ${of.source}; percentiles ` +
      `${of.percentiles.join(", ")}.`;
    update();
  }

  const relative = make("input", { type: "checkbox", id: "scale-relative", onchange: () => {
    state.relative = relative.checked;
    update();
  } });
  const which = make("select", { id: "scale-of", onchange: () => compare(all[which.value]) },
    ...all.map(({ name }, number) => make("option", { value: number }, name)));
  const by = { ArrowUp: -1, ArrowLeft: -1, ArrowDown: 1, ArrowRight: 1 };
  const holder = make("div", { tabindex: 0, id: "scale-view", role: "application",
    "aria-label": "Scales of sites; arrows go along the sites",
    onkeydown: (event) => {
      if (event.key in by && !event.ctrlKey && !event.metaKey && !event.altKey) {
        event.preventDefault();
        step(by[event.key]);
      }
    } }, plot);
  made.append(note, make("div", { class: "bar" }, make("label", {}, "Of", which),
    make("label", {}, "Sites", kinds),
    make("label", {}, relative, zero)),
  boxes, readout, holder, make("details", {}, make("summary", {}, "As a table"), table));
  compare(all[0]);
  return made;
}
