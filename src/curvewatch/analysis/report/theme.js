// Light, dark, or as the system has it; charts take their colours from the style sheet.
const THEMES = ["auto", "light", "dark"];
const system = matchMedia("(prefers-color-scheme: dark)");
let wanted = "auto";
const redraw = [];

function applyTheme() {
  const dark = wanted === "dark" || (wanted === "auto" && system.matches);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  document.getElementById("theme").textContent = wanted;
  for (const draw of redraw) draw();
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function faded(hex, alpha) {
  const [r, g, b] = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  return `rgba(${r},${g},${b},${alpha})`;
}

document.getElementById("theme").addEventListener("click", () => {
  wanted = THEMES[(THEMES.indexOf(wanted) + 1) % THEMES.length];
  applyTheme();
});
system.addEventListener("change", applyTheme);

function layout(changes) {
  const axis = { gridcolor: colour("grid"), linecolor: colour("line"), zerolinecolor: colour("line"), tickcolor: colour("line"),
    automargin: true, title: { standoff: 8 } };
  const base = {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, -apple-system, 'Segoe UI', Roboto, Arial, 'DejaVu Sans', sans-serif", size: 12, color: colour("soft") },
    margin: { l: 46, r: 12, t: 8, b: 40 }, hovermode: "x unified", showlegend: false,
    hoverlabel: { bgcolor: colour("card"), bordercolor: colour("line"), font: { color: colour("ink"), size: 12 } },
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", bgcolor: "rgba(0,0,0,0)", font: { size: 12 } },
  };
  const made = { ...base, ...changes, xaxis: { ...axis, ...changes.xaxis }, yaxis: { ...axis, ...changes.yaxis } };
  for (const name of ["xaxis", "yaxis"]) if (typeof made[name].title === "string") made[name].title = { text: made[name].title, standoff: 8 };
  return made;
}

const COMPACT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const plainStep = (step) => (step < 10000 ? step.toLocaleString("en") : COMPACT.format(step));

// What charts run over: training steps, or the tokens seen by then, where every run knows them.
let over = "steps";

// Steps as places on that axis; between two observations, where tokens are not told, in proportion.
function along(run, steps) {
  if (over === "steps") return steps;
  return steps.map((step) => {
    const after = run.steps.findIndex((s) => s >= step);
    if (after <= 0) return run.seen[after === 0 ? 0 : run.seen.length - 1];
    const before = after - 1, part = (step - run.steps[before]) / (run.steps[after] - run.steps[before]);
    return run.seen[before] + part * (run.seen[after] - run.seen[before]);
  });
}

function offerAxis(data) {
  const button = document.getElementById("axis");
  button.hidden = !data.runs.every((run) => run.seen);
  button.addEventListener("click", () => {
    over = over === "steps" ? "tokens" : "steps";
    button.textContent = `over ${over}`;
    for (const draw of redraw) draw();
  });
}

// A logarithmic axis, with plain numbers on it.
function stepAxis(data) {
  const steps = data.runs.flatMap((run) => along(run, [run.steps.find((s) => s > 0), run.steps.at(-1)].filter((s) => s > 0)));
  const low = Math.log10(Math.min(...steps)), high = Math.log10(Math.max(...steps)), room = 0.02 * (high - low) + 1e-3;
  const between = high - low > 3.2 ? [1] : high - low > 1.2 ? [1, 3] : [1, 2, 3, 5, 7];
  const tickvals = [];
  for (let d = Math.floor(low); d <= high; d++) for (const m of between) tickvals.push(m * 10 ** d);
  return { type: "log", title: over === "steps" ? "training step" : "tokens seen", range: [low - room, high + room], tickvals, ticktext: tickvals.map(plainStep), hoverformat: ",.0f" };
}

function draw(id, traces, changes) {
  const place = document.getElementById(id);
  if (!traces.length) {
    place.classList.add("empty");
    place.textContent = changes.empty || "Not enough observations for this yet.";
    return place;
  }
  Plotly.react(place, traces, layout(changes), { responsive: true, displaylogo: false, displayModeBar: false });
  return place;
}
