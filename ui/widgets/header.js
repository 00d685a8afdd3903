const bar = element.querySelector(".bar");
bar.querySelector(".mode").addEventListener("click", () => {
  const dark = document.body.classList.toggle("dark");
  document.documentElement.style.colorScheme = dark ? "dark" : "light";
  localStorage.setItem("lorastyle-theme", `${document.documentElement.dataset.theme}:${dark ? "dark" : "light"}`);
});
bar.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  const first = document.querySelector("h1");
  if (first) { first.tabIndex = -1; first.focus(); }
});
// The theme in the address did its work when Gradio started; links that people share should not carry it.
const address = new URL(location.href);
if (address.searchParams.has("__theme")) {
  address.searchParams.delete("__theme");
  history.replaceState(history.state, "", address);
}
// On a phone the pages are a strip that scrolls; the page one is on should be in sight.
bar.querySelector("[aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" });
// What is typed into a list looks for an entry of it, in place of the one that is chosen, and does not go on behind it.
document.addEventListener("focusin", ({ target }) => {
  if (target.matches("input[role=combobox]")) setTimeout(() => document.activeElement === target && target.select());
});
// Who was logged out in another tab, or after long rest, logs in and is here again.
const ask = window.fetch;
window.fetch = async (...asked) => {
  const answer = await ask(...asked);
  if (answer.status === 401) location.assign(`./login?back=${encodeURIComponent(location.pathname + location.search)}`);
  return answer;
};
