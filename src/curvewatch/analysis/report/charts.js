// Every chart of the run as a whole.
const several = (data) => data.runs.length > 1;
const after0 = (run, values) => values.filter((_, t) => run.steps[t] > 0);

function lines(data, pick, format, scale = 1) {
  return data.runs.filter((run) => after0(run, run.steps).length).map((run) => {
    const [x, y] = pick(run);
    return { x: along(run, x), y: y.map((v) => (v === null ? null : v * scale)), name: escaped(run.name), mode: "lines", line: { color: run.colour, width: 2 },
      hovertemplate: `%{y:${format}}<extra>${several(data) ? escaped(run.name) : ""}</extra>` };
  });
}

// Names go into Plotly's labels, which understand a little HTML.
function escaped(text) {
  return String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

const chance = (data) => chanceLine(data.chance, `chance ${data.chance.toFixed(2)}`);

function chanceLine(y, text) {
  return { shapes: [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: y, y1: y, line: { color: colour("faint"), width: 1, dash: "dash" } }],
    annotations: [{ xref: "paper", x: 1, y, text, showarrow: false, xanchor: "right", yanchor: "bottom", bgcolor: faded(colour("card"), 0.75), font: { size: 11, color: colour("faint") } }] };
}

function surprisalChart(data) {
  const traces = [];
  if (!several(data) && after0(data.runs[0], data.runs[0].steps).length) {
    const run = data.runs[0], x = along(run, after0(run, run.steps));
    [[0, 4, 0.13], [1, 3, 0.22]].forEach(([low, high, alpha]) => {
      const share = Math.round(100 * (data.quantiles[high] - data.quantiles[low]));
      traces.push({ x, y: after0(run, run.quantiles[low]), mode: "lines", line: { width: 0 }, showlegend: false, hoverinfo: "skip" });
      traces.push({ x, y: after0(run, run.quantiles[high]), mode: "lines", line: { width: 0 }, fill: "tonexty", fillcolor: faded(run.colour, alpha), name: `${share} % of tokens`, hoverinfo: "skip" });
    });
    traces.push({ x, y: after0(run, run.quantiles[2]), name: "median", mode: "lines", line: { color: run.colour, width: 1.5, dash: "dot" }, hovertemplate: "%{y:.2f} bits" });
  }
  const means = lines(data, (run) => [after0(run, run.steps), after0(run, run.mean)], ".2f");
  if (!several(data)) means.forEach((trace) => Object.assign(trace, { name: "mean", hovertemplate: "%{y:.2f} bits" }));
  const drawn = chance(data);
  drawn.shapes = [...drawn.shapes, ...data.events.map((event) => ({ type: "line", yref: "paper", y0: 0, y1: 1, x0: along(data.runs[0], [event.step])[0], x1: along(data.runs[0], [event.step])[0], line: { color: LABEL_HUES[event.up ? 9 : 2], width: 1, dash: "dot" } }))];
  draw("plot-surprisal", [...traces, ...means], { ...drawn, xaxis: stepAxis(data), yaxis: { title: "bits", rangemode: "tozero" }, showlegend: true, margin: { l: 46, r: 12, t: 28, b: 40 } });
}

function eventList(data, pick) {
  for (const element of document.querySelectorAll("[data-events]")) element.hidden = !data.events.length;
  document.getElementById("about-events").textContent = `Observations at which more tokens jumped at once than the run's own past explains${several(data) ? `, ${data.runs[0].name}` : ""}; dotted in the chart above, and the tokens that jumped farthest.`;
  document.getElementById("event-list").replaceChildren(...data.events.map((event) => {
    const item = make("li", `${event.words}: `);
    event.tokens.forEach(([i, text]) => {
      const row = data.arrays.token.indexOf(i), name = inWords(text);
      if (row < 0) { item.append(make("span", ` ${name} `)); return; }
      const button = make("button", name, { type: "button", title: `token #${i}` });
      button.addEventListener("click", () => pick(row, true));
      item.append(button);
    });
    return item;
  }));
}

function overviewCharts(data) {
  const percent = { ticksuffix: " %", rangemode: "tozero" };
  draw("plot-accuracy", lines(data, (run) => [after0(run, run.steps), after0(run, run.accuracy)], ".1f", 100), { xaxis: stepAxis(data), yaxis: percent, showlegend: several(data) });
  const shares = data.runs.some((run) => run.acquired_share.at(-1) > 0);
  draw("plot-acquired", shares ? lines(data, (run) => [run.acquired_x, run.acquired_share], ".1f", 100) : [], { xaxis: stepAxis(data), yaxis: { ...percent, range: [0, 101] }, showlegend: several(data), empty: "No token has a smoothed curve that was acquired yet." });
  histogram(data, "plot-age", data.bins.age, "age of acquisition, step", true);
  histogram(data, "plot-forgettability", data.bins.forgettability, "forgettability, bits", false);
}

function histogram(data, id, bins, title, logarithmic, colours) {
  if (!bins) return draw(id, [], {});
  const traces = bins.shares.map((shares, r) => {
    const hue = colours ? colours[r] : data.runs[r].colour, x = [], y = [];
    shares.forEach((share, b) => { x.push(bins.edges[b], bins.edges[b + 1]); y.push(100 * share, 100 * share); });
    return { x, y, mode: "lines", line: { color: hue, width: 1.4 }, fill: "tozeroy", fillcolor: faded(hue, several(data) && !colours ? 0.12 : 0.25),
      name: colours ? "" : escaped(data.runs[r].name), hovertemplate: "%{y:.2f} % of tokens" + (several(data) && !colours ? `<extra>${escaped(data.runs[r].name)}</extra>` : "<extra></extra>") };
  });
  const caption = document.getElementById(id).closest("figure").querySelector("p"), beyond = " The last bin holds all beyond.";
  if (bins.cut && !caption.textContent.endsWith(beyond)) caption.textContent += beyond;
  const ticks = logarithmic ? decades(bins.edges) : {};
  return draw(id, traces, { xaxis: { title, ...ticks }, yaxis: { ticksuffix: " %", rangemode: "tozero" }, showlegend: several(data) && !colours });
}

function decades(edges) {
  const low = Math.floor(edges[0]), high = Math.ceil(edges.at(-1)), tickvals = [], ticktext = [];
  for (let d = low; d <= high; d++) for (const m of high - low > 4 ? [1] : high - low > 2 ? [1, 3] : [1, 2, 5]) {
    tickvals.push(d + Math.log10(m));
    ticktext.push(plainStep(m * 10 ** d));
  }
  return { tickvals, ticktext, range: [edges[0], edges.at(-1)], hoverformat: ".2f" };
}

function structureCharts(data, pickToken) {
  if (!data.map) draw("plot-map", [], { empty: "No observation in the last quarter of training yet." });
  else {
    const dark = document.documentElement.dataset.theme === "dark";
    const z = data.map.counts.map((row) => row.map((n) => (n ? Math.log10(n) : null)));
    const scale = dark ? [[0, "#22303f"], [0.5, "#2f7ed8"], [1, "#cfe5ff"]] : [[0, "#e4eefb"], [0.5, "#7fb1ec"], [1, "#123e73"]];
    const cells = { type: "heatmap", x: data.map.x, y: data.map.y, z, colorscale: scale, text: data.map.counts, hovertemplate: "%{text:,} tokens<extra></extra>", xgap: 1, ygap: 1,
      colorbar: { thickness: 8, outlinewidth: 0, tickvals: [0, 1, 2, 3, 4, 5, 6], ticktext: ["1", "10", "100", "1k", "10k", "100k", "1M"], title: { text: "tokens", side: "right" } } };
    const n = data.targets.length, map = data.arrays["map.0"], every = Math.max(1, Math.ceil(n / 1500)), rows = [];
    for (let i = 0; i < n; i += every) if (Number.isFinite(map[i])) rows.push(i);
    const dots = { type: "scatter", mode: "markers", x: rows.map((i) => map[i]), y: rows.map((i) => map[n + i]), customdata: rows, text: rows.map((i) => escaped(data.targets[i])),
      marker: { size: 3.5, color: colour("accent"), opacity: 0.3 }, hovertemplate: "%{text}<extra></extra>" };
    const place = draw("plot-map", [cells, dots], { hovermode: "closest", xaxis: { title: "standard deviation of p(token)", rangemode: "tozero" }, yaxis: { title: "mean p(token)", range: [-0.02, 1.02] } });
    place.removeAllListeners("plotly_click");
    place.on("plotly_click", ({ points }) => { const hit = points.find((p) => p.customdata !== undefined && p.data.type === "scatter"); if (hit) pickToken(hit.customdata, true); });
  }
  correlationChart(data);
}

function correlationChart(data) {
  const names = data.correlated, cells = names.map((_, a) => names.map((__, b) => {
    const values = data.runs.map((run) => run.correlation[a][b]).filter((v) => v !== null);
    return values.length ? values.reduce((x, y) => x + y, 0) / values.length : null;
  }));
  if (cells.flat().every((v) => v === null)) return draw("plot-correlation", [], {});
  const middle = colour("card");
  const annotations = names.flatMap((_, a) => names.map((__, b) => ({ x: b, y: a, text: cells[a][b] === null ? "" : cells[a][b].toFixed(2).replace("-", "−"), showarrow: false,
    font: { size: 12, color: Math.abs(cells[a][b]) > 0.55 ? "#fff" : colour("ink") } })));
  const short = names.map((name) => name.replace(" ", "<br>"));
  return draw("plot-correlation", [{ type: "heatmap", z: cells, x: names.map((_, i) => i), y: names.map((_, i) => i), zmin: -1, zmax: 1, colorscale: [[0, "#2166ac"], [0.5, middle], [1, "#c0502b"]], showscale: false, xgap: 2, ygap: 2, hoverinfo: "skip" }],
    { annotations, hovermode: false, xaxis: { tickvals: names.map((_, i) => i), ticktext: short, showgrid: false, tickangle: innerWidth < 600 ? -45 : 0, tickfont: { size: 10 }, side: "bottom" },
      yaxis: { tickvals: names.map((_, i) => i), ticktext: short, showgrid: false, autorange: "reversed", tickfont: { size: 10 } } });
}

function crossCharts(data) {
  if (!data.cross) return;
  const steps = data.cross.steps, keep = steps.map((s, i) => i).filter((i) => steps[i] > 0 && data.cross.correlation[i] !== null);
  draw("plot-agreement", keep.length ? [{ x: along(data.runs[0], keep.map((i) => steps[i])), y: keep.map((i) => data.cross.correlation[i]), mode: "lines", line: { color: colour("accent"), width: 2 }, hovertemplate: "r = %{y:.3f}<extra></extra>" }] : [],
    { xaxis: stepAxis(data), yaxis: { title: "r" }, empty: "The runs share no scored step after step 0." });
  histogram(data, "plot-cross", data.bins.cross, "cross-run variability, bits²", false, [colour("accent")]);
}

// Mean surprisal by the values of each label, and their measures, of the first run.
const LABEL_HUES = ["#2f7ed8", "#e08214", "#3a9d5d", "#9467bd", "#c9a400", "#d6557b", "#17a2b8", "#8c6d46", "#7f8c9a", "#b0413e"];

function labelFrames(data) {
  for (const element of document.querySelectorAll("[data-labels]")) element.hidden = !data.labels.length;
  if (!data.labels.length) return;
  document.getElementById("about-labels").textContent = `Tokens by what they are${several(data) ? `, ${data.runs[0].name}` : ""}: mean surprisal of each value, and the means of its tokens' measures.`;
  document.getElementById("label-charts").replaceChildren(...data.labels.map((label, k) => {
    const figure = make("figure", undefined, { class: "card" }), caption = make("figcaption"), box = make("div", undefined, { class: "scroll" });
    caption.append(make("h2", label.name));
    if (label.left_out) caption.append(make("p", `The ${label.values.length} values with most tokens; ${label.left_out.toLocaleString("en")} more are in the file.`));
    const table = make("table"), top = make("thead"), body = make("tbody"), head = make("tr");
    ["", ...label.columns].forEach((text) => head.append(make("th", text.replaceAll("_", " "))));
    top.append(head);
    for (const [value, ...cells] of label.rows) {
      const row = make("tr");
      row.append(make("th", value));
      cells.forEach((cell) => row.append(make("td", cell === null ? "–" : number(cell))));
      body.append(row);
    }
    table.append(top, body);
    box.append(table);
    figure.append(caption, make("div", undefined, { class: "plot", id: `plot-label-${k}` }), box);
    return figure;
  }));
}

function labelCharts(data) {
  const run = data.runs[0];
  data.labels.forEach((label, k) => {
    const traces = label.values.map((value, v) => ({ x: along(run, after0(run, run.steps)), y: after0(run, label.means[v]), name: escaped(value), mode: "lines",
      line: { color: LABEL_HUES[v % LABEL_HUES.length], width: 2, dash: v % 2 ? "dash" : "solid" }, hovertemplate: "%{y:.2f} bits" }));
    draw(`plot-label-${k}`, after0(run, run.steps).length ? traces : [], { xaxis: stepAxis(data), yaxis: { title: "bits", rangemode: "tozero" }, showlegend: true, margin: { l: 46, r: 12, t: 28, b: 40 } });
  });
}
