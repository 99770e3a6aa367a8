// Which pieces of search.json answer a query. A query that holds a known error text leads to it.
const lookup = (() => {
  const base = new URL(`${document.body.dataset.base.replace(/\/?$/, "/")}`, location.href);
  const EACH_PAGE = 2; // results from one page
  let loading = null;

  const words = (text) => text.toLowerCase().match(/[a-z0-9_]+/g) || [];
  const flat = (text) => text.replace(/\s+/g, " ");
  const plain = (text) =>
    text
      .replace(/\x1b\[[0-9;]*m/g, "")
      .replace(/[\u2018\u2019]/g, "'")
      .replace(/[\u201c\u201d]/g, '"')
      .replace(/\u00a0/g, " ");

  function load() {
    loading ||= fetch(new URL("search.json", base))
      .then((response) => response.json())
      .then((pieces) => {
        const holders = new Map();
        for (const piece of pieces) {
          piece.titled = words(`${piece.title} ${piece.page}`);
          const all = [...piece.titled, ...words(piece.seen || ""), ...words(piece.text)];
          piece.words = new Map();
          for (const word of all) piece.words.set(word, (piece.words.get(word) || 0) + 1);
          piece.size = all.length;
          for (const word of words(piece.errors || "")) {
            if (!piece.words.has(word)) piece.words.set(word, 0.3);
          }
          for (const word of piece.words.keys()) holders.set(word, (holders.get(word) || 0) + 1);
        }
        return { pieces, holders };
      });
    return loading;
  }

  // The line of a text in which a piece's error stands; -1 where it stands in none.
  function place(piece, lines, whole) {
    const at = lines.findIndex((line) => piece.spelt.some((text) => line.includes(text)));
    if (at >= 0) return at;
    return piece.spelt.some((text) => whole.includes(text)) ? lines.length : -1;
  }

  // What only reports another error comes last; of one line the most specific text first.
  function told(pieces, query) {
    const lines = plain(query).split("\n");
    const whole = flat(plain(query));
    const texts = pieces.filter((piece) => piece.spelt);
    let found = texts
      .map((piece) => ({ piece, at: place(piece, lines, whole) }))
      .filter(({ at }) => at >= 0);
    if (!found.length) {
      found = texts
        .filter((piece) => piece.like && new RegExp(piece.like).test(whole))
        .map((piece) => ({ piece, at: 0 }));
    }
    found.sort(
      (a, b) =>
        a.piece.wraps - b.piece.wraps ||
        a.at - b.at ||
        b.piece.title.length - a.piece.title.length,
    );
    const titles = found.map(({ piece }) => piece.title);
    return found
      .map(({ piece }) => piece)
      .filter(({ title }) => !titles.some((each) => each !== title && each.includes(title)));
  }

  function ranked({ pieces, holders }, query) {
    const asked = [...new Set(words(query))];
    const last = /\s$/.test(query) ? null : asked.at(-1);
    const rarity = (word) => Math.log(1 + pieces.length / (holders.get(word) || 1));
    const sum = asked.reduce((all, word) => all + rarity(word), 0);
    const scored = [];
    for (const piece of pieces) {
      let score = 0;
      let met = 0;
      for (const word of asked) {
        let count = piece.words.get(word) || 0;
        let titled = piece.titled.includes(word) ? 1.5 : 0;
        if (!count && word.length > (word === last ? 1 : 4)) {
          const begins = (each) => each.startsWith(word);
          if ([...piece.words.keys()].some(begins)) count = 0.5;
          titled = piece.titled.some(begins) ? 0.5 : 0;
        }
        if (!count) continue;
        met += rarity(word);
        score += rarity(word) * (count / (count + 0.4 + piece.size / 150) + titled);
      }
      const title = words(piece.title);
      const named = title.filter((word) => asked.includes(word)).length / title.length;
      if (met) scored.push({ piece, score: (score + sum * named) * (met / sum) ** 2, met: met / sum });
    }
    scored.sort((a, b) => b.score - a.score);
    const least = scored.length ? scored[0].score * 0.15 : 0;
    const shown = new Map();
    return scored.filter(({ piece, score }) => {
      const path = piece.url.split("#")[0];
      const before = shown.get(path) || 0;
      if (!piece.spelt) shown.set(path, before + 1);
      return score > least && before < EACH_PAGE;
    });
  }

  // exact: error texts that stand in the query. texts, pages: what shares words with it.
  async function find(query) {
    const index = await load();
    const exact = told(index.pieces, query);
    const others = ranked(index, query).filter(({ piece }) => !exact.includes(piece));
    const sure = query.length > 60 ? others.filter(({ met }) => met > 0.5) : others;
    const about = sure.map(({ piece }) => piece);
    const leads = (piece) => exact.some((each) => piece.errors?.includes(each.title));
    const pages = [...index.pieces.filter(leads), ...about.filter((piece) => !piece.spelt)];
    return { exact, texts: about.filter((piece) => piece.spelt), pages: [...new Set(pages)] };
  }

  function excerpt(piece, query) {
    const text = piece.text || piece.seen || "";
    const low = text.toLowerCase();
    const places = words(query)
      .filter((word) => word.length > 2)
      .map((word) => low.indexOf(word));
    const at = places.find((place) => place > 60);
    const start = at ? text.lastIndexOf(" ", at - 40) + 1 : 0;
    const end = text.length > start + 150 ? text.lastIndexOf(" ", start + 150) : text.length;
    return (start ? "... " : "") + text.slice(start, end) + (end < text.length ? " ..." : "");
  }

  // A link to a piece: its title, its page, and the words around what was asked.
  function link(piece, query) {
    const made = document.createElement("a");
    made.href = new URL(piece.url, base);
    const title = document.createElement(piece.spelt ? "code" : "strong");
    title.textContent = piece.title;
    const where = document.createElement("small");
    where.textContent = piece.title === piece.page ? "" : piece.page;
    const text = document.createElement("span");
    text.textContent = excerpt(piece, query);
    made.append(title, where, text);
    return made;
  }

  return { base, find, link, load, plain };
})();
