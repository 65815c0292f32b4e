"use strict";
const root = document.documentElement;
const dark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
const changed = () => document.dispatchEvent(new Event("themechange"));

document.getElementById("theme").addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; changed(); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);

for (const image of document.images) {
  const sharpen = () => image.classList.toggle("tiny", image.naturalWidth <= 64); // a 32 px photograph looks torn when smoothed
  if (image.complete) sharpen(); else image.addEventListener("load", sharpen);
}

for (const [group, tabs] of document.querySelectorAll("[data-tabs]").entries()) {
  const buttons = [...tabs.querySelectorAll('[role="tab"]')];
  const panels = [...tabs.querySelectorAll('[role="tabpanel"]')];
  const show = (chosen) => buttons.forEach((button, index) => {
    button.setAttribute("aria-selected", String(index === chosen));
    button.tabIndex = index === chosen ? 0 : -1;
    panels[index].hidden = index !== chosen;
  });
  buttons.forEach((button, index) => {
    panels[index].id = `panel-${group}-${index}`;
    button.setAttribute("aria-controls", panels[index].id);
    button.addEventListener("click", () => show(index));
    button.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = (index + step + buttons.length) % buttons.length;
      show(next); buttons[next].focus();
    });
  });
  show(0);
}

const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) links.get(entry.target.id)?.classList.toggle("here", entry.isIntersecting);
}, { rootMargin: "-40% 0px -59% 0px" });
for (const section of document.querySelectorAll("main > section")) watcher.observe(section);

// The numbers of a line chart under the pointer.
for (const plot of document.querySelectorAll("[data-read]")) {
  const { x: unit, low, high, percent, series } = JSON.parse(plot.dataset.read);
  const area = plot.querySelector(".area");
  const cursor = Object.assign(document.createElement("i"), { className: "cursor", hidden: true });
  const readout = Object.assign(document.createElement("div"), { className: "readout", hidden: true });
  area.append(cursor, readout);
  const places = [...new Set(series.flatMap(({ points }) => points.map(([x]) => x)))];
  area.addEventListener("pointermove", (event) => {
    const box = area.getBoundingClientRect();
    const wanted = low + (event.clientX - box.left) / box.width * (high - low);
    const x = places.reduce((best, place) => Math.abs(place - wanted) < Math.abs(best - wanted) ? place : best);
    const share = high > low ? (x - low) / (high - low) : 0.5;
    cursor.style.left = `${100 * share}%`;
    readout.replaceChildren(Object.assign(document.createElement("b"), { textContent: unit === "epoch" ? `epoch ${x}` : `${x.toFixed(1)} ${unit}` }));
    for (const { label, colour, points } of [...series].sort((a, b) => a.dashed - b.dashed)) {
      const near = unit === "epoch" ? points.find(([place]) => place === x) : points.reduce((best, point) => Math.abs(point[0] - x) < Math.abs(best[0] - x) ? point : best, points[0]);
      if (!near) continue;
      const line = document.createElement("div"), name = document.createElement("span"), key = document.createElement("i"), value = document.createElement("b");
      key.className = `key ${colour}`; key.style.position = "static";
      name.append(key, label); value.textContent = percent ? `${(100 * near[1]).toFixed(1)}%` : near[1].toFixed(3);
      line.append(name, value); readout.append(line);
    }
    cursor.hidden = readout.hidden = false;
    if (share < 0.5) { readout.style.left = `calc(${100 * share}% + 12px)`; readout.style.right = "auto"; }
    else { readout.style.right = `calc(${100 - 100 * share}% + 12px)`; readout.style.left = "auto"; }
  });
  area.addEventListener("pointerleave", () => { cursor.hidden = readout.hidden = true; });
}

