// What both pages share: the theme switch and the service worker.

const THEMES = ["auto", "light", "dark"];

/**
 * Wires the theme button; the choice is kept in this browser.
 * @param {HTMLButtonElement} button
 * @param {() => void} onChange  called after the colours have changed, whoever changed them
 */
export function wireTheme(button, onChange) {
  const apply = (theme) => {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    button.textContent = { auto: "◐", light: "☀", dark: "☾" }[theme];
    button.title = `Colours: ${theme}`;
    onChange();
  };
  let theme = THEMES.includes(localStorage.getItem("theme")) ? localStorage.getItem("theme") : "auto";
  button.addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    localStorage.setItem("theme", theme);
    apply(theme);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", onChange);
  apply(theme);
}

/** Registers sw.js: isolation headers and offline use from the second visit on. */
export async function registerServiceWorker() {
  if (!("serviceWorker" in navigator)) return;
  try {
    await navigator.serviceWorker.register("sw.js");
  } catch (error) {
    console.warn("No offline use:", error); // for example in private windows: the page works all the same
  }
}
