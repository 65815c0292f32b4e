"use strict";
const root = document.documentElement;
const dark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;

document.getElementById("theme").addEventListener("click", () => {
  root.dataset.theme = dark() ? "light" : "dark";
  document.dispatchEvent(new Event("themechange"));
});

for (const tabs of document.querySelectorAll("[data-tabs]")) {
  const buttons = [...tabs.querySelectorAll('[role="tab"]')];
  const panels = [...tabs.querySelectorAll('[role="tabpanel"]')];
  const show = (chosen) => buttons.forEach((button, index) => {
    button.setAttribute("aria-selected", String(index === chosen));
    panels[index].hidden = index !== chosen;
  });
  buttons.forEach((button, index) => button.addEventListener("click", () => show(index)));
  show(0);
}

// Ten colours that colour-blind people can tell apart (after Paul Tol's "muted"), and four shapes for more classes.
const COLOURS = ["#4477dd", "#cc6677", "#ddaa33", "#117733", "#66bbdd", "#882277", "#44aa99", "#999933", "#aa4499", "#bb5522"];
const SHAPES = ["circle", "square", "triangle", "diamond"];
const colourOf = (label) => COLOURS[label % COLOURS.length];
const shapeOf = (label) => SHAPES[Math.floor(label / COLOURS.length) % SHAPES.length];

function mark(context, x, y, size, label) {
  const shape = shapeOf(label);
  context.beginPath();
  if (shape === "circle") context.arc(x, y, size, 0, 7);
  else if (shape === "square") context.rect(x - size, y - size, 2 * size, 2 * size);
  else if (shape === "triangle") { context.moveTo(x, y - 1.2 * size); context.lineTo(x + 1.1 * size, y + size); context.lineTo(x - 1.1 * size, y + size); }
  else { context.moveTo(x, y - 1.3 * size); context.lineTo(x + 1.3 * size, y); context.lineTo(x, y + 1.3 * size); context.lineTo(x - 1.3 * size, y); }
  context.closePath();
}

const evolutions = [...document.querySelectorAll("[data-evolution]")].map((element) => ({
  data: JSON.parse(element.querySelector(".points").textContent),
  canvases: [...element.querySelectorAll("canvas[data-panel]")],
  sprite: element.querySelector(".sprite"),
}));

if (evolutions.length) {
  const names = JSON.parse(document.getElementById("class-names").textContent);
  const legend = document.getElementById("class-legend");
  const tip = document.getElementById("tip");
  const state = { method: evolutions[0].data.points.tsne ? "tsne" : "pca", label: null, hover: null };
  const SIDE = 600, CELL = 40, COLUMNS = 40;

  const place = (points) => {
    let most = 0;
    for (const [x, y] of points) most = Math.max(most, Math.abs(x), Math.abs(y));
    const scale = (SIDE / 2 - 18) / (most || 1);
    return points.map(([x, y]) => [SIDE / 2 + x * scale, SIDE / 2 - y * scale]);
  };

  const draw = () => {
    for (const [which, { data, canvases }] of evolutions.entries()) {
      canvases.forEach((canvas, panel) => {
        const context = canvas.getContext("2d");
        const points = canvas.points = place((data.points[state.method] || data.points.pca)[panel]);
        context.clearRect(0, 0, SIDE, SIDE);
        const size = points.length > 400 ? 4.2 : 6;
        const paint = (index, strong) => {
          context.globalAlpha = strong ? 0.85 : 0.1;
          context.fillStyle = colourOf(data.labels[index]);
          mark(context, points[index][0], points[index][1], size, data.labels[index]);
          context.fill();
        };
        if (state.label !== null) points.forEach((_, index) => data.labels[index] !== state.label && paint(index, false));
        points.forEach((_, index) => (state.label === null || data.labels[index] === state.label) && paint(index, true));
        context.globalAlpha = 1;
        if (state.hover && state.hover.which === which) {
          const [x, y] = points[state.hover.index];
          context.lineWidth = 4;
          context.strokeStyle = dark() ? "#fff" : "#000";
          context.beginPath(); context.arc(x, y, 14, 0, 7); context.stroke();
        }
      });
    }
    for (const button of legend.children) button.setAttribute("aria-pressed", String(Number(button.dataset.label) === state.label));
    for (const button of document.querySelectorAll("[data-method]")) button.setAttribute("aria-pressed", String(button.dataset.method === state.method));
  };

  const nearest = (canvas, event) => {
    const box = canvas.getBoundingClientRect();
    const x = (event.clientX - box.left) * SIDE / box.width, y = (event.clientY - box.top) * SIDE / box.height;
    let best = null, distance = 30 * 30;
    canvas.points.forEach(([px, py], index) => {
      const d = (px - x) ** 2 + (py - y) ** 2;
      if (d < distance) { best = index; distance = d; }
    });
    return best;
  };

  const showTip = (which, index, event) => {
    const { data } = evolutions[which];
    const sprite = evolutions[data.sheet].sprite;
    const context = tip.querySelector("canvas").getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(sprite, index % COLUMNS * CELL, Math.floor(index / COLUMNS) * CELL, CELL, CELL, 0, 0, 80, 80);
    tip.querySelector("p").textContent = `${names[data.labels[index]]}, in the end ${data.correct[index] ? "right" : "wrong"} · ${data.names[index]}`;
    tip.hidden = false;
    const left = Math.min(event.clientX + 16, innerWidth - 230), top = Math.min(event.clientY + 16, innerHeight - 170);
    tip.style.left = `${Math.max(4, left)}px`; tip.style.top = `${Math.max(4, top)}px`;
  };

  evolutions.forEach(({ data, canvases }, which) => canvases.forEach((canvas) => {
    canvas.addEventListener("pointermove", (event) => {
      const index = nearest(canvas, event);
      state.hover = index === null ? null : { which, index };
      if (index === null) tip.hidden = true; else showTip(which, index, event);
      draw();
    });
    canvas.addEventListener("pointerleave", () => { state.hover = null; tip.hidden = true; draw(); });
    canvas.addEventListener("click", (event) => {
      const index = nearest(canvas, event);
      const label = index === null ? null : data.labels[index];
      state.label = state.label === label ? null : label;
      draw();
    });
  }));

  names.forEach((name, label) => {
    const button = document.createElement("button");
    button.type = "button"; button.dataset.label = label;
    const sample = document.createElement("canvas");
    sample.width = sample.height = 12;
    const context = sample.getContext("2d");
    context.fillStyle = colourOf(label); mark(context, 6, 6, 4.5, label); context.fill();
    button.append(sample, name);
    button.addEventListener("click", () => { state.label = state.label === label ? null : label; draw(); });
    legend.append(button);
  });
  for (const button of document.querySelectorAll("[data-method]")) {
    button.hidden = !evolutions.some(({ data }) => data.points[button.dataset.method]);
    button.addEventListener("click", () => { state.method = button.dataset.method; draw(); });
  }
  document.addEventListener("themechange", draw);
  draw();
}
