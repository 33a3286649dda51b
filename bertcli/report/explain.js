"use strict";
const results = JSON.parse(document.getElementById("data").textContent);
const at = id => document.getElementById(id);
const make = (name, text) => { const node = document.createElement(name); node.textContent = text; return node };
const signed = value => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2);
let query = 0, weights = null;

function fill(select, labels, isAlwaysSeen = false) {
  select.replaceChildren(...labels.map((label, i) => { const option = make("option", label); option.value = i; return option }));
  select.parentNode.hidden = labels.length < 2 && !isAlwaysSeen;
}
const record = () => results[at("record").value];
const mix = (name, share) => `color-mix(in srgb, var(--${name}) ${Math.round(share * 60)}%, transparent)`;
const number = (own, name) => own.unit === "value" ? own[name].toPrecision(4) : (100 * own[name]).toFixed(2) + " %";

function showTarget() {
  const own = record().explanations[at("target").value];
  for (const id of ["texts", "words"]) at(id).replaceChildren();
  if (!own) { at("headline").textContent = "No entity was found."; at("sum").textContent = ""; return }
  const found = own.text === undefined ? "" : `: ${own.text || "no answer"}`;
  at("headline").replaceChildren(make("strong", own.target + found), ` ${number(own, "score")} `, `(predict: ${number(own, "predict_score")})`);
  const most = Math.max(...own.words.map(word => Math.abs(word.attribution)), 1e-9);
  const side = word => word.attribution > 0 ? "for" : "against";
  let line = null, field = null, place = 0;
  for (const word of own.words) {
    if (line === null || word.field !== field) {
      line = make("p", word.field ? word.field + ": " : ""); line.className = "text"; at("texts").append(line); field = word.field; place = word.start;
    }
    if (word.start > place) line.append(" ");
    const span = make("span", word.text);
    span.style.background = mix(side(word), Math.abs(word.attribution) / most);
    span.title = signed(word.attribution);
    line.append(span); place = word.end;
  }
  for (const word of [...own.words].sort((a, b) => Math.abs(b.attribution) - Math.abs(a.attribution)).slice(0, 20)) {
    const row = document.createElement("tr"), cell = document.createElement("td"), bar = document.createElement("div");
    bar.className = "bar"; bar.style.width = 100 * Math.abs(word.attribution) / most + "%"; bar.style.background = `var(--${side(word)})`;
    const name = make("th", word.text); name.scope = "row";
    cell.append(bar); row.append(name, make("td", signed(word.attribution)), cell); at("words").append(row);
  }
  const unit = own.unit === "value" ? "" : " log-odds", given = record();
  at("sum").textContent = `Sum ${signed(own.sum)}: ${own.value.toFixed(2)}${unit}, ${own.baseline_value.toFixed(2)} with ${given.baseline} for every piece; `
    + `${(100 * own.error).toFixed(1)} % off in ${own.steps} steps${own.complete ? "" : ", more than 1 %: take the attributions as rough"}. Weights: ${given.weights}.`
    + (own.predict_layers ? ` Predict computed ${own.predict_layers} layers; the sum is of all layers.` : "")
    + (given.windows ? ` The text has ${given.windows} windows.` : "") + (given.truncated ? " The text is truncated." : "");
}

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
const unique = (heads, place) => [...new Set(heads.map(pair => pair[place]))];
const chosenWindow = () => record().attention[at("window").value];

function row(i) {
  const { tokens, heads } = chosenWindow(), size = tokens.length, chosen = Number(at("head").value);
  const layer = unique(heads, 0)[at("layer").value], own = unique(heads, 1);
  const parts = heads.map((pair, k) => [pair, k]).filter(([pair]) => pair[0] === layer && (chosen === own.length || pair[1] === own[chosen]));
  return Array.from({ length: size }, (_, j) => parts.reduce((sum, [, k]) => sum + weights[(k * size + i) * size + j], 0) / parts.length / 255);
}

async function showWindow() {
  const own = chosenWindow();
  at("heads").hidden = !own;
  if (!own) return;
  const { layer, head } = { layer: at("layer"), head: at("head") }, before = [layer.value, head.value];
  fill(layer, unique(own.heads, 0).map(String), true);
  const heads = unique(own.heads, 1).map(String);
  fill(head, heads.length > 1 ? [...heads, "mean of all"] : heads, true);
  if (before[0]) [layer.value, head.value] = before;
  query = 0;
  if (!window.DecompressionStream) { at("tokens").textContent = "This browser cannot unpack the weights; one of 2023 or later can."; return }
  const unpacked = await unpack(own.weights);
  if (own !== chosenWindow()) return;  // another was chosen meanwhile
  weights = unpacked;
  at("tokens").replaceChildren(...own.tokens.map((token, i) => {
    const button = make("button", token);
    button.type = "button"; button.append(" ", make("small", ""));
    button.addEventListener("click", () => { query = i; showRow() });
    return button;
  }));
  showMap();
}

function showRow() {
  const values = row(query);
  [...at("tokens").children].forEach((button, i) => {
    button.style.background = mix("look", values[i]);
    button.lastChild.textContent = Math.round(100 * values[i]) + " %";
    button.setAttribute("aria-pressed", i === query);
    button.tabIndex = i === query ? 0 : -1;
  });
}

function showMap() {
  const size = chosenWindow().tokens.length, map = at("map"), pen = map.getContext("2d");
  map.width = map.height = size;
  const colour = getComputedStyle(document.documentElement).getPropertyValue("--look").trim();
  const [red, green, blue] = [1, 3, 5].map(i => parseInt(colour.slice(i, i + 2), 16)), image = pen.createImageData(size, size);
  for (let i = 0; i < size; i++) row(i).forEach((value, j) => image.data.set([red, green, blue, 255 * value], 4 * (i * size + j)));
  pen.putImageData(image, 0, 0);
  showRow();
}

function showRecord() {
  fill(at("target"), record().explanations.map(own => own.text === undefined ? own.target : `${own.target}: ${own.text || "no answer"}`));
  fill(at("window"), record().attention.map((_, i) => String(i + 1)));
  showTarget();
  showWindow();
}

at("tokens").addEventListener("keydown", event => {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key], all = at("tokens").children;
  if (!step) return;
  event.preventDefault();
  query = (query + step + all.length) % all.length;
  showRow();
  all[query].focus();
});
at("map").addEventListener("click", event => {
  const size = chosenWindow().tokens.length;
  query = Math.min(size - 1, Math.floor(event.offsetY / at("map").clientHeight * size));
  showRow();
});
at("record").addEventListener("change", showRecord);
at("target").addEventListener("change", showTarget);
at("window").addEventListener("change", showWindow);
for (const id of ["layer", "head"]) at(id).addEventListener("change", showMap);
fill(at("record"), results.map((own, i) => `${i + 1}: ${own.explanations.length ? own.explanations[0].words.map(word => word.text).join(" ").slice(0, 60) : ""}`));
if (results.length) showRecord(); else at("headline").textContent = "There is no record.";
