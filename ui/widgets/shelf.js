// The datasets there are; triggers "open" with the id of the one that is wanted, "delete" with the one to be deleted.
const make = (tag, className = "", text = "") => Object.assign(document.createElement(tag), { className, textContent: text });
function draw() {
  const { datasets = [] } = props.value ?? {};
  const section = element.querySelector(".shelf");
  section.hidden = !datasets.length;
  section.querySelector(".row").replaceChildren(...datasets.map(({ id, title, count, thumbnails }) => {
    const card = make("article", "card"), thumbs = make("div", "thumbs"), open = make("button", "open", title), remove = make("button", "delete", "Delete");
    thumbs.append(...thumbnails.map((url) => Object.assign(document.createElement("img"), { src: url, alt: "", loading: "lazy" })));
    open.append(make("small", "", `${count} image${count === 1 ? "" : "s"}`));
    open.type = remove.type = "button";
    remove.setAttribute("aria-label", `Delete ${title}`);
    open.addEventListener("click", () => trigger("open", { data: id }));
    remove.addEventListener("click", () => {
      if (remove.dataset.sure) trigger("delete", { data: id });
      else { remove.dataset.sure = "yes"; remove.textContent = "Really delete?"; setTimeout(() => { delete remove.dataset.sure; remove.textContent = "Delete"; }, 4000); }
    });
    card.append(thumbs, open, remove);
    return card;
  }));
}
watch("value", draw);
draw();
