// A list whose entries are buttons with data-id: opens what was clicked, and puts it into the address as data-name.
element.addEventListener("click", (event) => {
  const entry = event.target.closest("[data-id]");
  if (!entry) return;
  const address = new URL(location.href);
  address.searchParams.set(entry.dataset.name, entry.dataset.id);
  history.replaceState(history.state, "", address);
  trigger("choose", { id: entry.dataset.id });
  // On a phone what was opened stands above the list, see style.css.
  if (matchMedia("(max-width: 640px)").matches) element.closest(".opens-above")?.scrollIntoView();
});
