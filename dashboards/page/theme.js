// Runs before the first paint, so that the page never flashes in the wrong colours.
(() => {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const read = () => { try { return localStorage.getItem("shoal-theme") || "auto"; } catch { return "auto"; } };
  const apply = (choice) => {
    const dark = choice === "dark" || (choice === "auto" && system.matches);
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    document.documentElement.dataset.choice = choice;
    dispatchEvent(new CustomEvent("shoal-theme", { detail: choice }));
  };
  system.addEventListener("change", () => apply(read()));
  window.shoalTheme = {
    choice: read,
    next() {
      const order = ["auto", "light", "dark"];
      const choice = order[(order.indexOf(read()) + 1) % order.length];
      try { localStorage.setItem("shoal-theme", choice); } catch { /* a private window: the choice lasts as long as the page */ }
      apply(choice);
    },
  };
  apply(read());
})();
