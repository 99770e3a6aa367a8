// The field of the error index into which a traceback or a log is pasted.
(() => {
  const form = document.querySelector("form.paste");
  if (!form) return;
  const area = form.querySelector("textarea");
  const output = form.querySelector(".pasted");
  const UNKNOWN =
    "No known text is in it. The index holds what libraries write, not what your own code says.";
  form.hidden = false;

  function said(text) {
    const made = document.createElement("p");
    made.className = "group";
    made.textContent = text;
    return made;
  }

  area.addEventListener("input", async () => {
    const text = area.value;
    const { exact } = await lookup.find(text);
    if (area.value !== text) return;
    const links = exact.map((piece) => lookup.link(piece, ""));
    const count = links.length === 1 ? "1 known text" : `${links.length} known texts`;
    if (links.length) output.replaceChildren(said(count), ...links);
    else output.replaceChildren(...(text.trim() ? [said(UNKNOWN)] : []));
  });
})();
