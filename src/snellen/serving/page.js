"use strict";

const find = (id) => document.getElementById(id);
const token = new URLSearchParams(location.hash.slice(1)).get("token");
const headers = token ? { Authorization: "Bearer " + token } : {};
const percent = (share) => (share > 0 && share < 0.0005 ? "<0.1" : (100 * share).toFixed(1)) + "%";
// As in the report: matplotlib's inferno, whose lightness rises evenly.
const HEAT = [[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]];

let model = null; // what /model says
let latest = 0; // the number of the image that is shown; answers for earlier ones are ignored
let shown = null; // its file

async function request(path, options) {
  let response;
  try { response = await fetch(path, { headers, ...options }); } catch { throw new Error("The server does not answer."); }
  if (response.ok) return response;
  const { error } = await response.json().catch(() => ({}));
  throw new Error(error || "The server refused the request.");
}

const json = async (path, options) => (await request(path, options)).json();
const blob = async (path, options) => (await request(path, options)).blob();

function complain(error) {
  find("error").textContent = error.message;
  find("error").hidden = false;
}

function fromBase64(text) {
  return new Blob([Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))], { type: "image/png" });
}

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/** Shows a blob in an image, and forgets the one before. */
function put(image, content) {
  if (image.src) URL.revokeObjectURL(image.src);
  if (content) image.src = URL.createObjectURL(content);
  else image.removeAttribute("src");
  image.hidden = !content;
}

function shade(value) {
  find("opacity").value = value;
  find("percent").textContent = value + "%";
  find("overlay").style.opacity = value / 100;
}

/** The overlay and its slider; null takes them away. */
function overlay(content, kind, opacity) {
  put(find("overlay"), content);
  find("overlay").className = kind;
  find("shading").hidden = !content;
  if (content) shade(opacity);
}

function list(classes) {
  const present = classes.filter((entry) => entry[model.measure] > 0 || model.measure === "probability");
  find("classes").replaceChildren(...present.map((entry) => {
    const value = entry[model.measure], colour = entry.colour && `rgb(${entry.colour.join(" ")})`;
    const line = element("div", { className: "line" },
      element("span", { className: "name", textContent: entry.name }),
      element("span", { className: "number", textContent: percent(value) }));
    const bar = element("div", { className: "bar", ariaHidden: "true" }, element("div", {}));
    if (colour) {
      line.prepend(element("span", { className: "swatch" }));
      line.firstChild.style.background = bar.firstChild.style.background = colour;
    }
    bar.firstChild.style.width = 100 * value + "%";
    return element("li", {}, line, bar);
  }));
  const absent = classes.filter((entry) => !present.includes(entry)).map((entry) => entry.name);
  find("absent").textContent = "Not found: " + absent.join(", ");
  find("absent").hidden = !absent.length;
}

function show(result) {
  const size = `${result.width} × ${result.height} px.`;
  list(result.classes);
  if (result.mask) {
    const mask = fromBase64(result.mask);
    overlay(mask, "mask", 55);
    find("save").href = find("overlay").src;
    find("save").hidden = false;
    find("note").textContent = `${size} Shares of the pixels.`;
  } else {
    const kind = result.calibration === "uncalibrated" ? "uncalibrated" : "calibrated";
    find("note").textContent = `${size} The probabilities are ${kind}.`;
  }
  find("look").hidden = !model.saliency;
}

/** The image as it was given, without what is known about it. */
function display(file) {
  overlay(null, "", 0);
  put(find("image"), file);
  find("image").alt = file.name || "the image";
  find("picture").classList.remove("explained");
  find("picture").hidden = false;
  find("hint").hidden = true;
  find("back").hidden = true;
  find("explanation").replaceChildren();
}

async function predict(file, truth) {
  const number = ++latest;
  shown = file;
  for (const id of ["error", "truth", "absent", "look", "save"]) find(id).hidden = true;
  find("classes").replaceChildren();
  find("note").textContent = "…";
  display(file);
  if (truth) {
    find("truth").textContent = `Labelled ${truth}.`;
    find("truth").hidden = false;
  }
  try {
    const result = await json("predict", { method: "POST", body: file });
    if (number === latest) show(result);
  } catch (error) {
    if (number !== latest) return;
    find("note").textContent = "";
    complain(error);
  }
}

/** A map in grey as colours: clear where it is 0, yellow where it is highest. */
async function heated(map) {
  const bitmap = await createImageBitmap(map);
  const canvas = element("canvas", { width: bitmap.width, height: bitmap.height }), context = canvas.getContext("2d");
  context.drawImage(bitmap, 0, 0);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height), data = pixels.data;
  for (let i = 0; i < data.length; i += 4) {
    const share = data[i] / 255, at = Math.min(3.999, 4 * share), from = HEAT[Math.floor(at)], to = HEAT[Math.floor(at) + 1];
    for (let c = 0; c < 3; c++) data[i + c] = from[c] + (at % 1) * (to[c] - from[c]);
    data[i + 3] = 255 * (0.1 + 0.9 * share ** 0.75);
  }
  context.putImageData(pixels, 0, 0);
  return new Promise((resolve) => canvas.toBlob(resolve));
}

async function explain() {
  const number = latest;
  find("look").disabled = true;
  find("error").hidden = true;
  try {
    const result = await json("saliency", { method: "POST", body: shown });
    const heat = await heated(fromBase64(result.map));
    if (number !== latest) return;
    put(find("image"), fromBase64(result.view));
    find("picture").classList.add("explained");
    overlay(heat, "heat", 80);
    find("look").hidden = true;
    find("back").hidden = false;
    const correlation = result.correlation === null
      ? "There is no correlation with the map of random weights: one of the two maps is the same everywhere."
      : `Its correlation with the map of random weights is ${result.correlation.toFixed(2)}: near 0 if it comes from what ` +
        "the network has learnt, near 1 if any network would show it.";
    find("explanation").replaceChildren(
      element("p", { textContent: `The image as the network sees it. Bright positions raised the score of ${result.class} ` +
        `most (Grad-CAM, ${result.positions} positions).` }),
      element("p", { textContent: correlation }),
      element("p", { textContent: "A map does not say why the network looked there, or that its answer is right." }));
  } catch (error) {
    if (number === latest) complain(error);
  } finally {
    find("look").disabled = false;
  }
}

function take(files) {
  if (files.length) predict(files[0]);
  else complain(new Error("That is not a file. Drop or paste an image file."));
}

async function offerSamples() {
  find("samples").hidden = !model.samples.length;
  for (const { number, class: truth } of model.samples) {
    const name = `Validation image ${number + 1}` + (truth ? `, labelled ${truth}` : "");
    const image = element("img", { alt: "", hidden: true });
    const button = element("button", { type: "button", title: name, ariaLabel: name }, image);
    button.addEventListener("click", async () => {
      const before = latest;
      try {
        const content = await blob(`samples/${number}`);
        if (latest === before) predict(new File([content], name, { type: content.type }), truth);
      } catch (error) { complain(error); }
    });
    find("pictures").append(button);
    try { put(image, await blob(`samples/${number}/picture`)); } catch { button.remove(); } // it is gone
  }
}

async function start() {
  try { model = await json("model"); } catch (error) { return complain(error); }
  find("title").textContent = document.title = model.title;
  find("why").textContent = model.why_no_saliency;
  find("why").hidden = model.saliency;
  await offerSamples();
}

find("image").addEventListener("load", (event) => {
  const { naturalWidth, naturalHeight } = event.target;
  event.target.classList.toggle("small", Math.max(naturalWidth, naturalHeight) < 256);
});
find("image").addEventListener("error", () => { find("picture").hidden = true; find("hint").hidden = false; });
find("file").addEventListener("change", (event) => { take(event.target.files); event.target.value = ""; });
find("opacity").addEventListener("input", (event) => shade(event.target.value));
find("look").addEventListener("click", explain);
find("back").addEventListener("click", () => { display(shown); find("look").hidden = false; });
document.addEventListener("paste", (event) => take(event.clipboardData.files));
document.addEventListener("dragover", (event) => { event.preventDefault(); find("drop").classList.add("over"); });
document.addEventListener("dragleave", () => find("drop").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  find("drop").classList.remove("over");
  take(event.dataTransfer.files);
});
start();
