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

const STEP_AXIS = { type: "log", title: "training step", exponentformat: "power", dtick: 1, minor: { ticks: "outside", ticklen: 3 } };

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
