// The button beside an invite puts it on the clipboard.
"use strict";

for (const button of document.querySelectorAll("button[data-copy]")) {
  const text = document.getElementById(button.dataset.copy);
  button.hidden = false;
  button.addEventListener("click", async () => {
    const told = document.getElementById("copied");
    try {
      await navigator.clipboard.writeText(text.textContent);
      told.textContent = "Copied.";
    } catch {
      // No clipboard for pages that are neither on this machine nor behind TLS.
      getSelection().selectAllChildren(text);
      told.textContent = "Selected: press Ctrl+C.";
    }
  });
}
