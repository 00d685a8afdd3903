// Runs before anything is drawn: light or dark as the person chose it in this browser, else as the system has it.
(() => {
  const chosen = localStorage.getItem("lorastyle-theme");
  const dark = () => chosen === "dark" || (chosen !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  const address = new URL(location.href);
  if (!address.searchParams.has("__theme") && chosen) {
    // Gradio reads the theme from the address; afterwards it is taken out again, so that links stay short.
    address.searchParams.set("__theme", dark() ? "dark" : "light");
    history.replaceState(history.state, "", address);
  }
  document.documentElement.lang = "en";
  document.documentElement.style.colorScheme = dark() ? "dark" : "light";
})();
