// Whole sequences as text, each scored token coloured by what is asked, at any of the observations.
const PER_PAGE = 8;
const HOWS = {
  surprisal: "surprisal now",
  change: "change since the first observation",
  age: "age of acquisition",
  forgotten: "first choice, and forgotten",
};
const $ = (id) => document.getElementById(id);
let data, shown = [], page = 0, t = 0, chosen = -1;
const cache = new Map();

const bitsOf = (i) => {
  if (!cache.has(i)) cache.set(i, [curve(data, "surprisal", i), truths(data, "correct", i)]);
  return cache.get(i);
};
const mixed = (hue, share) => `color-mix(in srgb, ${hue} ${(100 * Math.min(1, Math.max(0, share))).toFixed(0)}%, transparent)`;
const BLUE = "#3b82d6", ORANGE = "#e08214";

// Background and whether the token is lost: was the first choice at an earlier observation, and is not now.
function look(i) {
  const how = $("how").value, [bits, right] = bitsOf(i), now = bits[t];
  const lost = !right[t] && right.slice(0, t).includes(1);
  if (how === "forgotten") return { colour: right[t] ? mixed(BLUE, 0.45) : lost ? mixed(ORANGE, 0.6) : "transparent", lost };
  if (how === "age") {
    const age = data.arrays.age[i], [low, high] = data.ages;
    if (!(age <= Math.log10(Math.max(1, data.steps[t])))) return { colour: "transparent", lost: false };
    return { colour: mixed(BLUE, 0.15 + 0.6 * (1 - (age - low) / (high - low || 1))), lost: false };
  }
  if (now === null) return { colour: "transparent", lost: false };
  if (how === "surprisal") return { colour: mixed(BLUE, 0.75 * now / data.chance), lost: false };
  const first = bits[0];
  if (first === null) return { colour: "transparent", lost: false };
  const change = now - first;
  return { colour: mixed(change < 0 ? BLUE : ORANGE, 0.75 * Math.abs(change) / (0.75 * data.chance)), lost: false };
}

function paint() {
  $("step").value = data.steps[t].toLocaleString("en");
  $("when").value = t;
  $("when").setAttribute("aria-valuetext", `step ${data.steps[t]}`);
  for (const span of document.querySelectorAll(".token")) {
    const { colour, lost } = look(+span.dataset.i);
    span.style.background = colour;
    span.classList.toggle("lost", lost);
    span.classList.toggle("chosen", +span.dataset.i === chosen);
  }
  detail();
}

function legend() {
  const box = $("legend"), how = $("how").value;
  box.replaceChildren();
  const add = (colour, text, lost) => {
    const item = document.createElement("span"), patch = document.createElement("i");
    patch.style.background = colour;
    item.append(patch, text);
    if (lost) item.style.textDecoration = "underline dashed";
    box.append(item);
  };
  if (how === "surprisal") {
    for (const share of [0, 0.5, 1]) add(mixed(BLUE, 0.75 * share), `${(share * data.chance).toFixed(1)} bits${share === 1 ? " (chance) and more" : ""}`);
  } else if (how === "change") {
    add(mixed(BLUE, 0.75), "fewer bits than at first");
    add(mixed(ORANGE, 0.75), "more bits than at first");
  } else if (how === "age") {
    add(mixed(BLUE, 0.75), `acquired early, at step ${Math.round(10 ** data.ages[0]).toLocaleString("en")}`);
    add(mixed(BLUE, 0.15), `late, at step ${Math.round(10 ** data.ages[1]).toLocaleString("en")}`);
    add("transparent", "not yet, or never");
  } else {
    add(mixed(BLUE, 0.45), "the model's first choice now");
    add(mixed(ORANGE, 0.6), "was the first choice, and is not now", true);
  }
}

function lay() {
  const pages = Math.max(1, Math.ceil(shown.length / PER_PAGE));
  page = Math.min(Math.max(0, page), pages - 1);
  $("page").value = `${page + 1} of ${pages}`;
  $("back").disabled = page === 0;
  $("on").disabled = page === pages - 1;
  const made = shown.slice(page * PER_PAGE, (page + 1) * PER_PAGE).map((s) => {
    const box = document.createElement("div"), name = document.createElement("small");
    box.className = "sequence";
    box.dir = "auto";
    name.textContent = `sequence ${data.sequences[s].number.toLocaleString("en")}`;
    box.append(name);
    const { texts, scored } = data.sequences[s];
    texts.forEach((text, p) => {
      const span = document.createElement("span"), i = scored[p];
      span.textContent = text;
      if (i < 0) span.className = "unscored";
      else {
        span.className = text ? "token" : "token empty";
        span.dataset.i = i;
      }
      box.append(span);
    });
    return box;
  });
  $("text").replaceChildren(...made);
  if (!made.length) $("text").textContent = "No sequence has this text.";
  legend();
  paint();
}

function detail() {
  const box = $("detail");
  box.replaceChildren();
  if (chosen < 0) {
    box.textContent = "Choose a token for its curve.";
    return;
  }
  const [bits, right] = bitsOf(chosen), name = document.createElement("b"), said = document.createElement("span");
  name.textContent = data.names[chosen];
  const show = (value) => (value === null || Number.isNaN(value) ? "not known" : `${value.toFixed(2)} bits`);
  const age = data.arrays.age[chosen];
  said.textContent = `token ${data.indices[chosen]}: ${show(bits[t])} now, ${show(bits[0])} at first; ` +
    `${right[t] ? "the first choice" : "not the first choice"} now; ` +
    (Number.isNaN(age) ? "no age of acquisition" : `acquired at step ${Math.round(10 ** age).toLocaleString("en")}`);
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 100 100");
  svg.setAttribute("preserveAspectRatio", "none");
  const top = Math.max(data.chance, ...bits.filter((y) => y !== null)), n = Math.max(1, bits.length - 1);
  const path = document.createElementNS(svg.namespaceURI, "path"), at = document.createElementNS(svg.namespaceURI, "line");
  let line = "", pen = "M";
  bits.forEach((y, k) => {
    if (y === null) pen = "M";
    else {
      line += `${pen}${(100 * k / n).toFixed(2)} ${(100 - 100 * y / top).toFixed(2)}`;
      pen = "L";
    }
  });
  path.setAttribute("d", line);
  for (const [key, value] of Object.entries({ x1: 100 * t / n, x2: 100 * t / n, y1: 0, y2: 100 })) at.setAttribute(key, value);
  svg.append(path, at);
  box.append(name, said, svg);
}

function search() {
  const wanted = $("find").value.toLowerCase();
  shown = data.sequences.flatMap((one, s) => (!wanted || one.whole.includes(wanted) ? [s] : []));
  page = 0;
  lay();
}

function step(by) {
  t = Math.min(data.steps.length - 1, Math.max(0, t + by));
  paint();
}

function neighbour(by) {
  const all = [...document.querySelectorAll(".token")];
  if (!all.length) return;
  const at = all.findIndex((span) => +span.dataset.i === chosen);
  const next = all[Math.min(all.length - 1, Math.max(0, at < 0 ? 0 : at + by))];
  chosen = +next.dataset.i;
  next.scrollIntoView({ block: "nearest" });
  paint();
}

inflated("data").then((buffer) => {
  data = unpack(buffer);
  const { starts, scored } = data.arrays;
  data.sequences = data.numbers.map((number, s) => {
    const texts = data.texts[s];
    return { number, texts, scored: scored.slice(starts[s], starts[s + 1]), whole: texts.join("").toLowerCase() };
  });
  data.names = [];
  for (const one of data.sequences) one.scored.forEach((i, p) => { if (i >= 0) data.names[i] = one.texts[p]; });
  $("title").textContent = data.title;
  $("subtitle").textContent = data.subtitle;
  for (const [value, text] of Object.entries(HOWS)) $("how").append(new Option(text, value));
  $("when").max = data.steps.length - 1;
  t = data.steps.length - 1;
  $("when").addEventListener("input", () => { t = +$("when").value; paint(); });
  $("how").addEventListener("change", () => { legend(); paint(); });
  $("find").addEventListener("input", search);
  $("back").addEventListener("click", () => { page--; lay(); });
  $("on").addEventListener("click", () => { page++; lay(); });
  $("text").addEventListener("click", (event) => {
    const span = event.target.closest(".token");
    if (span) { chosen = +span.dataset.i; paint(); }
  });
  document.addEventListener("keydown", (event) => {
    if (event.target.matches("input[type=search], select") || event.ctrlKey || event.metaKey || event.altKey) return;
    const act = {
      ArrowLeft: () => step(-1), ArrowRight: () => step(1), n: () => { page++; lay(); }, p: () => { page--; lay(); },
      ",": () => neighbour(-1), ".": () => neighbour(1),
      c: () => { $("how").selectedIndex = ($("how").selectedIndex + 1) % $("how").options.length; legend(); paint(); },
    }[event.key];
    if (act) { event.preventDefault(); act(); }
  });
  applyTheme();
  search();
  document.documentElement.dataset.ready = "1";
});
