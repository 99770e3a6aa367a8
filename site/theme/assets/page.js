// The colour scheme's button, copy buttons, and links that copy their address.
(() => {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const button = document.querySelector(".scheme");
  const now = () => document.documentElement.dataset.scheme || (system.matches ? "dark" : "light");
  const other = () => (now() === "dark" ? "light" : "dark");

  function name() {
    const text = other() === "dark" ? "Dark colours" : "Light colours";
    button.querySelector("span").textContent = text;
    button.title = text;
  }
  button.hidden = false;
  name();
  system.addEventListener("change", name);
  button.addEventListener("click", () => {
    scheme.chosen = other();
    name();
  });

  // Of a terminal the commands, of anything else all of it.
  function content(pre) {
    const commands = [...pre.querySelectorAll(".command b")];
    if (commands.length) return commands.map((each) => `${each.textContent}\n`).join("");
    return pre.querySelector("code").textContent;
  }

  for (const pre of document.querySelectorAll(".highlight pre")) {
    const copy = document.createElement("button");
    copy.type = "button";
    copy.className = "copy";
    copy.textContent = "Copy";
    copy.addEventListener("click", async () => {
      await navigator.clipboard.writeText(content(pre));
      copy.textContent = "Copied";
      setTimeout(() => (copy.textContent = "Copy"), 1500);
    });
    pre.parentElement.append(copy);
  }

  for (const link of document.querySelectorAll(".headerlink")) {
    link.addEventListener("click", () => navigator.clipboard?.writeText(link.href));
  }
})();
