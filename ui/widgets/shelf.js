// The datasets there are; triggers "open" with the id of the one that is wanted, "delete" with the one to be deleted,
// "rename" with the id of the one that gets a title.
const make = (tag, className = "", text = "") => Object.assign(document.createElement(tag), { className, textContent: text });
// A field in place of the card's title: Enter or leaving it renames, Escape does not.
function rename(card, id, title) {
  const field = make("input", "title");
  Object.assign(field, { value: title, maxLength: 120 });
  field.setAttribute("aria-label", `New name of ${title}`);
  let over = false;
  const end = (wanted) => {
    if (over) return;
    over = true; field.remove();
    if (wanted && wanted !== title) trigger("rename", { data: id, title: wanted });
  };
  field.addEventListener("keydown", (event) => { if (event.key === "Enter") end(field.value.trim()); else if (event.key === "Escape") end(""); });
  field.addEventListener("blur", () => end(field.value.trim()));
  card.append(field); field.focus(); field.select();
}

function draw() {
  const { datasets = [] } = props.value ?? {};
  const section = element.querySelector(".shelf");
  section.hidden = !datasets.length;
  section.querySelector(".row").replaceChildren(...datasets.map(({ id, title, count, thumbnails }) => {
    const card = make("article", "card"), thumbs = make("div", "thumbs"), open = make("button", "open", title), remove = make("button", "delete", "Delete"), again = make("button", "rename", "Rename");
    thumbs.append(...thumbnails.map((url) => Object.assign(document.createElement("img"), { src: url, alt: "", loading: "lazy" })));
    open.append(make("small", "", `${count} image${count === 1 ? "" : "s"}`));
    open.type = remove.type = again.type = "button";
    again.setAttribute("aria-label", `Rename ${title}`);
    again.addEventListener("click", () => rename(card, id, title));
    remove.setAttribute("aria-label", `Delete ${title}`);
    open.addEventListener("click", () => trigger("open", { data: id }));
    remove.addEventListener("click", () => {
      if (remove.dataset.sure) trigger("delete", { data: id });
      else { remove.dataset.sure = "yes"; remove.textContent = "Really delete?"; setTimeout(() => { delete remove.dataset.sure; remove.textContent = "Delete"; }, 4000); }
    });
    card.append(thumbs, open, again, remove);
    return card;
  }));
}
watch("value", draw);
draw();
