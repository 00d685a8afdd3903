// Runs before anything is drawn: light or dark as the studio's settings have it, or as the person switched since in
// this browser; "system": as the system has it. A switch is kept with the setting that it was made over, "dark:light".
(() => {
  const saved = document.documentElement.dataset.theme = "@theme";
  const [over, switched] = (localStorage.getItem("lorastyle-theme") ?? "").split(":");
  const theme = over === saved && switched ? switched : saved;
  const dark = theme === "dark" || (theme === "system" && matchMedia("(prefers-color-scheme: dark)").matches);
  const address = new URL(location.href);
  if (!address.searchParams.has("__theme") && theme !== "system") {
    // Gradio reads the theme from the address; `header.js` takes it out again, so that links stay short.
    address.searchParams.set("__theme", theme);
    history.replaceState(history.state, "", address);
  }
  document.documentElement.lang = "en";
  document.documentElement.style.colorScheme = dark ? "dark" : "light";
})();
