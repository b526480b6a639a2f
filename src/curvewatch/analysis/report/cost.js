// What a training cost the model that it began with.
const SHARES = ["worse", "lost", "gained", "regained", "base_accuracy", "accuracy", "lost_beyond_chance", "gained_beyond_chance"];

function costTable(data) {
  for (const element of document.querySelectorAll("[data-cost]")) element.hidden = !data.cost;
  if (!data.cost) return;
  document.getElementById("about-cost").textContent = data.cost.words;
  const cell = (name, value) => (value === null ? "–" : SHARES.includes(name) ? `${(100 * value).toFixed(1)} %` : name === "change" ? `${value > 0 ? "+" : ""}${number(value)}`.replace("-", "−") : number(value));
  const fill = (id, columns, rows) => {
    const table = document.getElementById(id), top = make("thead"), head = make("tr"), body = make("tbody");
    table.hidden = !rows.length;
    ["", ...columns].forEach((text) => head.append(make("th", text.replaceAll("_", " "))));
    top.append(head);
    rows.forEach(([title, ...values]) => { const tr = make("tr"); tr.append(make("th", title)); values.forEach((value, i) => tr.append(make("td", cell(columns[i], value)))); body.append(tr); });
    table.replaceChildren(top, body);
  };
  fill("cost-table", data.cost.columns, data.cost.rows);
  fill("cost-items", data.cost.item_columns, data.cost.item_rows);
}

function costChart(data) {
  if (!data.cost) return;
  const run = data.runs[0], cost = data.cost, keep = (values) => values.filter((_, t) => cost.steps[t] > 0), x = along(run, keep(cost.steps));
  const line = (values, name, hue, dash) => ({ x, y: keep(values).map((v) => (v === null ? null : 100 * v)), name, mode: "lines", line: { color: hue, width: 2, dash }, hovertemplate: "%{y:.1f} %" });
  const shares = [line(cost.lost, "lost", LABEL_HUES[9], "solid"), line(cost.gained, "gained", LABEL_HUES[2], "dash"), line(cost.regained, "lost and regained", LABEL_HUES[0], "dot")].filter((trace) => trace.y.some((v) => v !== null));
  draw("plot-cost", shares, { xaxis: stepAxis(data), yaxis: { ticksuffix: " %", rangemode: "tozero" }, showlegend: true, margin: { l: 46, r: 12, t: 28, b: 40 }, empty: "The base's first choices are not known." });
  const bits = { x, y: keep(cost.change), name: "mean change", mode: "lines", line: { color: colour("accent"), width: 2 }, hovertemplate: "%{y:+.3f} bits" };
  draw("plot-change", x.length ? [bits] : [], { xaxis: stepAxis(data), yaxis: { title: "bits", zeroline: true } });
}
