// What predicts learning: words, effects with their intervals, models, classes, and the likeness to n-gram models.
const signed = (value, digits = 2) => `${value > 0 ? "+" : ""}${value.toFixed(digits)}`.replace("-", "−");

function forest([value, low, high], reach) {
  const picture = svg("svg", { viewBox: "0 0 130 12", "aria-hidden": "true" }), x = (v) => (65 + (60 * Math.max(-reach, Math.min(reach, v))) / reach).toFixed(1);
  picture.append(svg("line", { x1: 65, x2: 65, y1: 0, y2: 12 }));
  if (low !== null && high !== null) picture.append(svg("line", { x1: x(low), x2: x(high), y1: 6, y2: 6, class: "span" }));
  picture.append(svg("circle", { cx: x(value), cy: 6, r: 3.2 }));
  return picture;
}

function headed(table, titles, rows) {
  const top = make("thead"), head = make("tr"), body = make("tbody");
  titles.forEach((title) => head.append(make("th", title, { scope: "col" })));
  top.append(head);
  rows.forEach(([title, hint, ...cells]) => {
    const row = make("tr");
    row.append(make("th", title, hint ? { scope: "row", title: hint } : { scope: "row" }), ...cells);
    body.append(row);
  });
  table.replaceChildren(top, body);
}

function predictedTables(data) {
  const found = data.predicted;
  for (const element of document.querySelectorAll("[data-predicted]")) element.hidden = !found;
  if (!found) return;
  document.getElementById("predicted-words").replaceChildren(...found.words.map((text) => make("li", text)));
  document.getElementById("predicted-notes").replaceChildren(...found.notes.map((text) => make("div", text, { class: "note" })));
  const titles = ["", ...found.targets.map((one) => one.title)];
  const reach = Math.max(0.1, ...found.effects.flat().filter(Boolean).flatMap(([value, low, high]) => [value, low ?? value, high ?? value].map(Math.abs)));
  headed(document.getElementById("effects"), titles, found.numbers.map(({ name, about, unit }, k) => [name, about && `${about} (${unit})`, ...found.effects[k].map((effect) => {
    if (!effect) return make("td", "–");
    const [value, low, high, signs, agreed] = effect, between = low === null ? "" : `, 95 % interval ${signed(low)} to ${signed(high)}`;
    const cell = make("td", signed(value), { class: agreed ? "clear" : "", title: `${signed(value)} SD per SD${between}; directions ${signs}` });
    cell.append(forest(effect, reach));
    return cell;
  })]));
  headed(document.getElementById("models"), titles, found.steps.map((name, k) => [(k ? "+ " : "") + name, "", ...found.models[k].map((cell) => make("td", cell ? `${(100 * cell[0]).toFixed(1)} %` + (k ? ` (${signed(100 * cell[1], 1)})` : "") : "–"))]));
  document.getElementById("predicted-classes").replaceChildren(...found.classes.map((one) => {
    const figure = make("figure", undefined, { class: "card wide" }), caption = make("figcaption"), box = make("div", undefined, { class: "scroll" }), table = make("table");
    caption.append(make("h2", one.name), make("p", `${one.about ? `${one.about[0].toUpperCase()}${one.about.slice(1)}. ` : ""}Beyond the numbers: how much more than the reference value, whose row is 0.` + (one.left_out ? ` ${one.left_out} rarer values are not shown.` : "")));
    headed(table, ["", "tokens", ...one.columns], one.rows.map(([value, n, ...cells]) => [value, "", make("td", n.toLocaleString("en")), ...cells.map((v) => make("td", v === null ? "–" : v === 0 ? "0" : signed(Number(v.toPrecision(3)), Math.max(2, 2 - Math.floor(Math.log10(Math.abs(v)))))))]));
    box.append(table);
    figure.append(caption, box);
    return figure;
  }));
}

function humpChart(data) {
  const hump = data.predicted?.hump;
  for (const element of document.querySelectorAll("[data-hump]")) element.hidden = !hump;
  if (!hump) return;
  const run = data.runs[0], x = along(run, hump.steps), many = data.runs.length;
  document.getElementById("about-hump").textContent = `Correlation over tokens of surprisal with that of n-gram models${many > 1 ? ", mean of the runs" : ""}. Most alike: ${hump.peaks.map((step, n) => `${n + 1}-gram at step ${number(step)}${step === hump.steps.at(-1) ? " (the last: no peak yet)" : ""}`).join(", ")}.`;
  const traces = hump.mean.map((mean, n) => ({ x, y: mean, name: `${n + 1}-gram`, mode: "lines", line: { color: LABEL_HUES[n % LABEL_HUES.length], width: 2 }, hovertemplate: "%{y:.3f}" }));
  draw("plot-hump", traces, { xaxis: stepAxis(data), yaxis: { title: "r" }, showlegend: true, margin: { l: 46, r: 12, t: 28, b: 40 } });
}
