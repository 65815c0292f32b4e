function showMasks(section) {
  const opacity = section.querySelector("#opacity"), large = section.querySelector("#large"), form = large.querySelector("form");
  const show = (layer) => {
    section.dataset.layer = layer;
    for (const button of section.querySelectorAll("[data-layer]")) button.setAttribute("aria-pressed", String(button.dataset.layer === layer));
    section.querySelector("#palette").hidden = layer !== "labels";
    section.querySelector("#mistakes-legend").hidden = layer !== "errors";
  };
  const fade = () => section.style.setProperty("--opacity", opacity.value / 100);
  for (const button of section.querySelectorAll("[data-layer]")) button.addEventListener("click", () => show(button.dataset.layer));
  opacity.addEventListener("input", fade);

  // A picture enlarged: a copy of it, with the variables that hold its image and truth.
  section.addEventListener("click", (event) => {
    const frame = event.target.closest(".frame");
    if (!frame) return;
    if (large.contains(frame)) { large.close(); return; }
    const scene = frame.closest(".scene"), title = document.createElement("span");
    title.textContent = frame.getAttribute("aria-label").replace("Enlarge: ", "");
    for (const name of ["--photo", "--truth", "--shape"]) large.style.setProperty(name, scene.style.getPropertyValue(name));
    const [width, height] = scene.style.getPropertyValue("--shape").split("/").map(Number);
    large.style.setProperty("--ratio", width / height);
    form.querySelector("span")?.remove(); large.querySelector(".frame")?.remove();
    form.prepend(title); large.append(frame.cloneNode(true));
    large.showModal();
  });
  show("labels"); fade();
}
if (document.getElementById("masks")) showMasks(document.getElementById("masks"));
