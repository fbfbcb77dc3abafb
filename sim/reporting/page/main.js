// The page: which run is looked at, and light or dark.

const MAIN = document.getElementById("main");

function show(current) {
  const runs = DATA.runs, parts = [];
  if (runs.length) {
    parts.push(runsSection(runs, current));
    if (runs.length > 1) {
      parts.push(make("div", { class: "runs", role: "group", "aria-label": "Run to look at" },
        ...runs.map((run) => make("button", { type: "button", "aria-pressed": run === current,
          onclick: () => {
            show(run);
            document.querySelector(".runs button[aria-pressed=true]").focus();
          } }, run.name))));
    }
    parts.push(summarySection(current), timelineSection(current), rooflineSection(current),
      trafficSection(current), energySection(runs), layersSection(current));
  }
  if (DATA.scales.length) parts.push(scalesSection(DATA.scales));
  if (DATA.designs) parts.push(designsSection(DATA.designs));
  hideTip();
  MAIN.replaceChildren(...parts);
  document.getElementById("sections").replaceChildren(
    ...[...MAIN.querySelectorAll("section")].map((part) => make("a", { href: `#${part.id}` },
      part.querySelector("h2").textContent)));
}

function setTheme(dark) {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  document.getElementById("theme").textContent = dark ? "Light" : "Dark";
}

document.getElementById("theme").addEventListener("click", () =>
  setTheme(document.documentElement.dataset.theme !== "dark"));
const PREFERS = matchMedia("(prefers-color-scheme: dark)");
PREFERS.addEventListener("change", () => setTheme(PREFERS.matches));
setTheme(PREFERS.matches);
addEventListener("keydown", (event) => { if (event.key === "Escape") hideTip(); });
show(DATA.runs[0]);
