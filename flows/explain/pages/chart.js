// Charts of the three pages as SVG, drawn anew at the width that there is.
"use strict";

const charts = (() => {
  const MARGIN = { left: 46, right: 24, top: 12, bottom: 42 };

  function element(tag, attributes, text = "") {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.textContent = text;
    return made;
  }

  /** Round numbers between two, about so many. */
  function ticks([low, high], count) {
    const raw = (high - low) / count;
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((part) => part * power).find((part) => part >= raw * 0.99);
    const first = Math.ceil(low / step - 1e-9);
    return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
  }

  /**
   * An empty chart in the place of what a host held.
   * x and y: { range, label, ticks?, format? }; summary: what it shows, for those who do not see it.
   */
  function chart(host, { height, x, y, summary, left = MARGIN.left }) {
    const width = Math.max(host.clientWidth, 240);
    const svg = element("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": summary });
    const inside = { left, right: width - MARGIN.right, top: MARGIN.top, bottom: height - MARGIN.bottom };
    const scale = ([low, high], from, to) => (value) => from + (value - low) / (high - low) * (to - from);
    const across = scale(x.range, inside.left, inside.right);
    const up = scale(y.range, inside.bottom, inside.top);
    const add = (tag, attributes, text) => svg.appendChild(element(tag, attributes, text));

    for (const value of y.ticks ?? ticks(y.range, 5)) {
      add("line", { class: "grid", x1: inside.left, x2: inside.right, y1: up(value), y2: up(value) });
      add("text", { x: inside.left - 8, y: up(value) + 4, "text-anchor": "end" }, (y.format ?? String)(value));
    }
    for (const value of x.ticks ?? ticks(x.range, width < 480 ? 5 : 8)) {
      add("line", { class: "axis", x1: across(value), x2: across(value), y1: inside.bottom, y2: inside.bottom + 5 });
      add("text", { x: across(value), y: inside.bottom + 19, "text-anchor": "middle" }, (x.format ?? String)(value));
    }
    add("line", { class: "axis", x1: inside.left, x2: inside.right, y1: inside.bottom, y2: inside.bottom });
    add("text", { x: inside.right, y: height - 5, "text-anchor": "end" }, x.label);
    host.replaceChildren(svg);

    return {
      inside,
      across,
      up,
      line: (points, style) => add("path", { class: style, d: points.map(([a, b], i) => `${i ? "L" : "M"}${across(a).toFixed(1)} ${up(b).toFixed(1)}`).join("") }),
      dot: (a, b, style, r = 4) => add("circle", { class: style, cx: across(a), cy: up(b), r }),
      level: (b, style) => add("line", { class: `mark ${style}`, x1: inside.left, x2: inside.right, y1: up(b), y2: up(b) }),
      upright: (a, style) => add("line", { class: `mark ${style}`, x1: across(a), x2: across(a), y1: inside.top, y2: inside.bottom }),
      bar: (from, to, b, style) => add("rect", { class: `bar ${style}`, x: across(from) + 0.5, width: Math.max(across(to) - across(from) - 1, 0.5), y: up(b), height: Math.max(inside.bottom - up(b), 0) }),
      zone: (from, to, style, top = inside.top, bottom = inside.bottom) => add("rect", { class: `zone ${style}`, x: across(from), width: Math.max(across(to) - across(from), 0), y: top, height: bottom - top }),
      strip: (from, to, style, height) => add("rect", { class: `bar ${style}`, x: across(from), width: across(to) - across(from), y: inside.top - height / 2, height, opacity: 0.35, rx: 3 }),
      mark: (a, style, height) => add("rect", { class: `bar ${style}`, x: across(a) - 2, width: 4, y: inside.top - height, height: 2 * height, rx: 2 }),
      text: (px, py, words, style = "", anchor = "start") => add("text", { class: `halo ${style}`, x: px, y: py, "text-anchor": anchor }, words),
    };
  }

  /** Draw now and whenever the page gets another width. */
  function drawn(draw) {
    let width = 0;
    new ResizeObserver(() => {
      if (document.body.clientWidth !== width) {
        width = document.body.clientWidth;
        draw();
      }
    }).observe(document.body);
  }

  const byId = (id) => document.getElementById(id);
  const signed = (value, digits = 2) => `${value < 0 ? "\u2212" : "+"}${Math.abs(value).toFixed(digits)}`;
  const percent = (value) => `${(100 * value).toFixed(1)} %`;

  /** Show the value of a slider beside it, and give it. */
  function sliderValue(id, format) {
    const slider = byId(id);
    const value = Number(slider.value);
    const words = format(value);
    slider.parentElement.querySelector("output").value = words;
    slider.setAttribute("aria-valuetext", words);
    return value;
  }

  return { chart, drawn, byId, signed, percent, sliderValue };
})();
