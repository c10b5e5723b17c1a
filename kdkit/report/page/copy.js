"use strict";
// A button at every listing that copies its text. Without JavaScript there is none, and the text is there to be marked.
(() => {
  const copied = async (text, pre) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Where the clipboard is closed to a page, as in some browsers to a file: the text is marked and copied as by hand.
      getSelection().selectAllChildren(pre);
      if (!document.execCommand("copy")) return false;
      getSelection().removeAllRanges();
    }
    return true;
  };
  for (const box of document.querySelectorAll(".listing")) {
    const pre = box.querySelector("pre");
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      button.textContent = (await copied(pre.textContent, pre)) ? "Copied" : "Marked";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
    box.append(button);
  }
})();
