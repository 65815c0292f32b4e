// Ten colours that colour-blind people can tell apart (after Okabe & Ito and Paul Tol), and four shapes for more classes.
const LIGHT = ["#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#aa3377", "#8a8a00", "#332288", "#ee8fb0", "#5b6770"];
const DARK = ["#3b9be8", "#f0b429", "#2fc394", "#ff7f3f", "#9ad7fb", "#e06bb0", "#d6d84a", "#9b8cf5", "#ffb3cb", "#aab5bd"];
const SHAPES = ["circle", "square", "triangle", "diamond"];
const colourOf = (label) => (dark() ? DARK : LIGHT)[label % LIGHT.length];
const shapeOf = (label) => SHAPES[Math.floor(label / LIGHT.length) % SHAPES.length];

function mark(context, x, y, size, label) {
  const shape = shapeOf(label);
  context.beginPath();
  if (shape === "circle") context.arc(x, y, size, 0, 7);
  else if (shape === "square") context.rect(x - 0.9 * size, y - 0.9 * size, 1.8 * size, 1.8 * size);
  else if (shape === "triangle") { context.moveTo(x, y - 1.2 * size); context.lineTo(x + 1.1 * size, y + size); context.lineTo(x - 1.1 * size, y + size); }
  else { context.moveTo(x, y - 1.3 * size); context.lineTo(x + 1.3 * size, y); context.lineTo(x, y + 1.3 * size); context.lineTo(x - 1.3 * size, y); }
  context.closePath();
}

function showFeatures() {
  const CELL = 40, COLUMNS = 40; // of the sheet of thumbnails
  const find = (selector) => document.querySelector(selector);
  const evolutions = [...document.querySelectorAll("[data-evolution]")].map((element) => ({
    data: JSON.parse(element.querySelector(".points").textContent),
    panels: element.querySelector(".panels"),
    motion: element.querySelector(".motion"),
    sprite: element.querySelector(".sprite"),
  }));
  const names = JSON.parse(find("#class-names").textContent);
  const legend = find("#class-legend"), tip = find("#tip"), play = find("#play"), moment = find("#moment");
  const state = {
    method: evolutions.some(({ data }) => data.points.tsne) ? "tsne" : "pca",
    view: innerWidth <= 640 ? "motion" : "panels",
    label: null, hover: null, playing: null,
  };
  if (evolutions.every(({ data }) => data.epochs.length < 2)) { state.view = "panels"; find('[data-view="motion"]').parentElement.hidden = true; }

  const canvases = evolutions.flatMap((evolution, which) => [
    ...[...evolution.panels.querySelectorAll("canvas")].map((canvas, at) => ({ canvas, which, at })),
    { canvas: evolution.motion.querySelector("canvas"), which, at: null },
  ]);

  // Where the points of an evolution are at a time between 0, the first epoch shown, and the number of epochs less 1.
  const pointsAt = ({ data }, time, side) => {
    const epochs = data.points[state.method] || data.points.pca;
    const before = Math.min(Math.floor(time), epochs.length - 1), after = Math.min(before + 1, epochs.length - 1);
    const part = time - before, ease = part * part * (3 - 2 * part), scale = side * 0.94 / 1000, edge = side * 0.03;
    return epochs[before].map(([x, y], index) => {
      const [u, v] = epochs[after][index];
      return [edge + (x + ease * (u - x)) * scale, side - edge - (y + ease * (v - y)) * scale];
    });
  };
  const timeOf = (evolution) => moment.value / 1000 * (evolution.data.epochs.length - 1);

  const drawCanvas = ({ canvas, which, at }) => {
    const evolution = evolutions[which], { data } = evolution, context = canvas.getContext("2d"), side = canvas.width;
    const points = canvas.points = pointsAt(evolution, at === null ? timeOf(evolution) : at, side);
    const size = side / 640 * (points.length > 600 ? 4 : points.length > 250 ? 4.8 : 6.5) * (at === null ? 0.85 : 1);
    context.clearRect(0, 0, side, side);
    const paint = (index, strong) => {
      context.globalAlpha = strong ? 0.85 : 0.12;
      context.fillStyle = colourOf(data.labels[index]);
      mark(context, points[index][0], points[index][1], size, data.labels[index]);
      context.fill();
    };
    if (state.label !== null) points.forEach((_, index) => data.labels[index] !== state.label && paint(index, false));
    points.forEach((_, index) => (state.label === null || data.labels[index] === state.label) && paint(index, true));
    context.globalAlpha = 1;
    if (!state.hover || evolutions[state.hover.which].data.sheet !== data.sheet || !points[state.hover.index]) return;
    const index = state.hover.index;
    const path = data.epochs.map((_, epoch) => pointsAt(evolution, epoch, side)[index]);
    context.strokeStyle = context.fillStyle = dark() ? "#fff" : "#000";
    context.lineWidth = side / 320; context.setLineDash([side / 90, side / 110]);
    context.beginPath(); path.forEach(([x, y]) => context.lineTo(x, y)); context.stroke(); context.setLineDash([]);
    const [x, y] = points[index];
    context.lineWidth = side / 180;
    context.beginPath(); context.arc(x, y, 2.4 * size, 0, 7); context.stroke();
    paint(index, true);
  };

  const draw = () => {
    for (const entry of canvases) if ((entry.at === null) === (state.view === "motion")) drawCanvas(entry);
    for (const { data, panels, motion } of evolutions) {
      panels.hidden = state.view === "motion"; motion.hidden = !panels.hidden;
      const time = timeOf({ data }), epoch = Math.round(time), between = Math.abs(time - epoch) > 0.02;
      motion.querySelector("figcaption").textContent = between ? `between epochs ${data.epochs[Math.floor(time)]} and ${data.epochs[Math.ceil(time)]}` : `epoch ${data.epochs[epoch]}`;
      motion.querySelectorAll("dd").forEach((cell, index) => { cell.textContent = between ? "–" : data.figures[epoch][index]; });
    }
    find(".evolutions").classList.toggle("in-motion", state.view === "motion");
    find(".player").hidden = state.view !== "motion";
    play.textContent = state.playing ? "❚❚" : "▶"; play.setAttribute("aria-label", state.playing ? "Pause" : "Play");
    for (const button of legend.children) button.setAttribute("aria-pressed", String(Number(button.dataset.label) === state.label));
    for (const key of ["method", "view"]) for (const button of document.querySelectorAll(`[data-${key}]`)) button.setAttribute("aria-pressed", String(button.dataset[key] === state[key]));
  };

  const nearest = (canvas, event) => {
    const box = canvas.getBoundingClientRect(), scale = canvas.width / box.width;
    const x = (event.clientX - box.left) * scale, y = (event.clientY - box.top) * scale;
    let best = null, distance = (18 * scale) ** 2;
    canvas.points.forEach(([px, py], index) => {
      const d = (px - x) ** 2 + (py - y) ** 2;
      if (d < distance) { best = index; distance = d; }
    });
    return best;
  };

  const showTip = (which, index, event) => {
    const { data } = evolutions[which], context = tip.querySelector("canvas").getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(evolutions[data.sheet].sprite, index % COLUMNS * CELL, Math.floor(index / COLUMNS) * CELL, CELL, CELL, 0, 0, 96, 96);
    const name = document.createElement("b"), verdict = document.createElement("span"), file = document.createElement("span");
    name.textContent = names[data.labels[index]]; file.textContent = data.names[index].split("/").pop();
    verdict.textContent = data.correct[index] ? "right at the last epoch" : "wrong at the last epoch";
    tip.querySelector("p").replaceChildren(name, verdict, file);
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(event.clientX + 18, innerWidth - width - 8))}px`;
    tip.style.top = `${Math.max(4, event.clientY + 18 + height > innerHeight ? event.clientY - height - 14 : event.clientY + 18)}px`;
  };

  for (const { canvas, which } of canvases) {
    canvas.addEventListener("pointermove", (event) => {
      const index = nearest(canvas, event);
      state.hover = index === null ? null : { which, index };
      if (index === null) tip.hidden = true; else showTip(which, index, event);
      draw();
    });
    canvas.addEventListener("pointerleave", () => { state.hover = null; tip.hidden = true; draw(); });
    canvas.addEventListener("click", (event) => {
      const index = nearest(canvas, event), label = index === null ? null : evolutions[which].data.labels[index];
      state.label = state.label === label ? null : label;
      draw();
    });
  }

  const fillLegend = () => legend.replaceChildren(...names.map((name, label) => {
    const button = document.createElement("button"), sample = document.createElement("canvas"), context = sample.getContext("2d");
    button.type = "button"; button.dataset.label = label;
    sample.width = sample.height = 12;
    context.fillStyle = colourOf(label); mark(context, 6, 6, 4.5, label); context.fill();
    button.append(sample, name);
    button.addEventListener("click", () => { state.label = state.label === label ? null : label; draw(); });
    return button;
  }));

  const advance = (now) => {
    if (!state.playing) return;
    const longest = Math.max(...evolutions.map(({ data }) => data.epochs.length - 1));
    moment.value = state.playing.from + (now - state.playing.since) / (1400 * longest) * 1000;
    if (Number(moment.value) >= 1000) state.playing = null;
    draw();
    requestAnimationFrame(advance);
  };
  play.addEventListener("click", () => {
    if (state.playing) { state.playing = null; draw(); return; }
    if (Number(moment.value) >= 1000) moment.value = 0;
    state.playing = { from: Number(moment.value), since: performance.now() };
    requestAnimationFrame(advance);
  });
  moment.addEventListener("input", () => { state.playing = null; draw(); });
  for (const button of document.querySelectorAll("[data-method]")) {
    button.hidden = !evolutions.some(({ data }) => data.points[button.dataset.method]);
    button.addEventListener("click", () => { state.method = button.dataset.method; draw(); });
  }
  for (const button of document.querySelectorAll("[data-view]")) button.addEventListener("click", () => { state.view = button.dataset.view; state.playing = null; draw(); });
  document.addEventListener("themechange", () => { fillLegend(); draw(); });
  fillLegend();
  draw();
}
if (document.querySelector("[data-evolution]")) showFeatures();
