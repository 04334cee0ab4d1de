"use strict";
// Answers side by side. Every text of the data is set as text, never as markup.
(() => {
  for (const mark of document.querySelectorAll("figure svg [role=graphics-symbol][aria-label]")) {
    const title = document.createElementNS("http://www.w3.org/2000/svg", "title");
    title.textContent = mark.getAttribute("aria-label");
    mark.prepend(title);
  }
  const filters = document.getElementById("filters");
  if (filters === null) return;
  const PAGE = 8;
  const rows = JSON.parse(document.getElementById("stored").textContent).answers;
  const sides = document.getElementById("sides");
  const more = document.getElementById("more");
  const orders = {
    gain: (row) => -(row.judge_gain ?? -Infinity),
    loss: (row) => row.judge_gain ?? Infinity,
    beside_gain: (row) => -(row.beside ?? -Infinity),
    beside_loss: (row) => row.beside ?? Infinity,
    disagree: (row) => -row.disagree,
    kept: () => 0,
  };
  let shown = PAGE;

  const element = (name, className, text = "") => {
    const made = document.createElement(name);
    made.className = className;
    made.textContent = text;
    return made;
  };
  const signed = (value) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2);
  const gain = (name, value) => {
    const said = element("span", "", `${name} `);
    said.append(value === null ? "not measured" : element("span", value < 0 ? "down" : "up", signed(value)));
    return said;
  };
  const answer = (given) => {
    const column = element("div", "");
    const told = [given.by === "champion" ? sides.dataset.other : given.by];
    if (given.judge !== null) told.push(`judge ${signed(given.judge)}`);
    if (given.reward !== null) told.push(`reward ${signed(given.reward)}`);
    if (given.tokens !== null) told.push(`${given.tokens} tokens`);
    if (given.finished === false) told.push("cut off");
    column.append(element("div", "by", told.join(" · ")));
    const text = element("div", "text");
    for (const [words, differs] of given.pieces) text.append(differs ? element("mark", "", words) : words);
    column.append(text);
    return column;
  };
  const side = (row) => {
    const card = element("article", "side");
    card.append(element("div", "asked", row.prompt));
    const scores = element("div", "scores");
    scores.append(gain("judge gain", row.judge_gain), gain("reward gain", row.reward_gain));
    if (row.beside !== null) scores.append(gain(`judge gain over ${sides.dataset.other}`, row.beside));
    if (row.kl !== null) scores.append(element("span", "", `KL ${row.kl.toFixed(1).replace("-", "−")} nats`));
    scores.append(element("span", "", row.slices.join(", ")));
    card.append(scores);
    const columns = element("div", "columns");
    columns.append(...row.answers.map(answer));
    card.append(columns);
    return card;
  };
  const draw = () => {
    const { order, slice, words } = Object.fromEntries(new FormData(filters));
    const wanted = words.toLowerCase();
    const fits = (row) =>
      (slice === "" || row.slices.includes(slice)) &&
      (order !== "disagree" || row.disagree > 0) &&
      (order !== "beside_loss" || (row.beside ?? 0) < 0) &&
      (order !== "loss" || row.judge_gain === null || row.judge_gain < 0) &&
      [row.prompt, ...row.answers.map((given) => given.pieces.map(([text]) => text).join(""))].some((text) =>
        text.toLowerCase().includes(wanted),
      );
    const found = rows.filter(fits).sort((one, other) => orders[order](one) - orders[order](other) || 0);
    sides.replaceChildren(...found.slice(0, shown).map(side));
    document.getElementById("count").textContent = `${Math.min(shown, found.length)} of ${found.length}`;
    more.hidden = found.length <= shown;
  };
  filters.addEventListener("input", () => {
    shown = PAGE;
    draw();
  });
  filters.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => {
    shown += PAGE;
    draw();
  });
  const order = filters.elements.namedItem("order");
  if (order.value === "loss" && !rows.some((row) => row.judge_gain < 0)) order.value = "gain"; // nothing got worse
  draw();
})();
