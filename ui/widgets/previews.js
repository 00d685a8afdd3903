// The previews of a training: a row for each checkpoint, newest first, a picture for each prompt.
// The value is {"rows": [{"step", "share", "pictures": [{"url", "prompt"}, ...]}, ...]}.
const find = (selector) => element.querySelector(selector);
const make = (tag, text = "") => Object.assign(document.createElement(tag), { textContent: text });
const dialog = find("dialog");
function draw() {
  const rows = props.value?.rows ?? [];
  find(".previews").hidden = !rows.length;
  find(".rows").replaceChildren(...rows.map(({ step, share, pictures }) => {
    const row = make("div"), name = make("span", step ? `Step ${step}` : "Before"), list = make("div");
    row.className = "step"; list.className = "pictures";
    name.append(make("small", share));
    list.append(...pictures.map(({ url, prompt }) => {
      const button = make("button"), image = make("img");
      button.type = "button"; image.src = url; image.alt = `${prompt}, at step ${step}`; image.loading = "lazy";
      button.append(image, make("span", prompt));
      button.addEventListener("click", () => {
        dialog.querySelector("img").src = url; dialog.querySelector("img").alt = image.alt;
        dialog.querySelector("p").textContent = `Step ${step}: ${prompt}`;
        dialog.showModal();
      });
      return button;
    }));
    row.append(name, list);
    return row;
  }));
}
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
watch("value", draw);
draw();
