// The search field of every page, a combobox with a list of links.
(() => {
  const MOST = 8;
  const KNOWN = "This error text";
  const form = document.querySelector("form.search");
  const field = form.querySelector("input");
  const panel = form.querySelector(".results");
  const status = form.querySelector("[role=status]");
  const ELSEWHERE = [
    { url: "errors/", title: "All error texts", page: "", text: "By the library that writes them." },
    { url: "rules/", title: "All rules", page: "", text: "By what the code touches." },
  ];
  let chosen = -1;
  form.hidden = false;

  const options = () => [...panel.querySelectorAll("[role=option]")];

  function open(shown) {
    panel.hidden = !shown;
    field.setAttribute("aria-expanded", String(shown));
    choose(-1);
  }

  function choose(number) {
    const all = options();
    chosen = Math.min(number, all.length - 1);
    all.forEach((each, at) => each.setAttribute("aria-selected", String(at === chosen)));
    if (chosen < 0) {
      field.removeAttribute("aria-activedescendant");
    } else {
      field.setAttribute("aria-activedescendant", all[chosen].id);
      all[chosen].scrollIntoView({ block: "nearest" });
    }
  }

  function group(name, pieces, query) {
    const made = document.createElement("div");
    made.setAttribute("role", "group");
    made.setAttribute("aria-label", name);
    const title = document.createElement("p");
    title.className = "group";
    title.textContent = name;
    title.setAttribute("aria-hidden", "true");
    made.append(title);
    for (const piece of pieces) {
      const option = lookup.link(piece, name === KNOWN ? "" : query);
      option.setAttribute("role", "option");
      option.tabIndex = -1;
      made.append(option);
    }
    return made;
  }

  // Whoever types an error's words, or pastes a message, is shown error texts first.
  function groups({ exact, texts, pages }, query) {
    const wanted = lookup.plain(query).trim().toLowerCase();
    const begun =
      /[\s_.:]|[a-z][A-Z]/.test(query.trim()) &&
      texts.some((each) => each.title.toLowerCase().includes(wanted));
    const found = [
      [KNOWN, exact.slice(0, MOST)],
      ["Rules and pages", pages.slice(0, exact.length ? 4 : 6)],
      ["Error texts", texts.slice(0, exact.length ? 2 : 5)],
    ];
    if (!exact.length && (begun || wanted.length > 60)) found.reverse();
    return found.filter(([, pieces]) => pieces.length);
  }

  async function show() {
    const query = field.value;
    if (!query.trim()) {
      status.textContent = "";
      open(false);
      return;
    }
    const found = groups(await lookup.find(query), query);
    if (field.value !== query) return;
    const count = found.reduce((sum, [, pieces]) => sum + pieces.length, 0);
    if (!count) found.push(["Nothing found", ELSEWHERE]);
    panel.replaceChildren(...found.map(([name, pieces]) => group(name, pieces, query)));
    options().forEach((each, at) => (each.id = `option-${at}`));
    status.textContent = count === 1 ? "1 result" : count ? `${count} results` : "Nothing found";
    open(true);
  }

  field.addEventListener("focus", () => (lookup.load(), field.value && show()));
  field.addEventListener("input", show);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const at = chosen;
    if (at < 0) await show();
    options()[Math.max(at, 0)]?.click();
  });
  field.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      open(false);
    } else if (event.key === "ArrowDown") {
      event.preventDefault();
      if (panel.hidden) show();
      else choose(chosen + 1);
    } else if (event.key === "ArrowUp" && chosen >= 0) {
      event.preventDefault();
      choose(chosen - 1);
    }
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, textarea, [contenteditable]");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      field.focus();
    }
  });
  document.addEventListener("click", (event) => {
    if (!form.contains(event.target) || event.target.closest("[role=option]")) open(false);
  });
  form.addEventListener("focusout", (event) => {
    if (event.relatedTarget && !form.contains(event.relatedTarget)) open(false);
  });
})();
