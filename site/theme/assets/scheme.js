// Runs before the page is painted, so that a chosen scheme does not flash.
const scheme = {
  get chosen() {
    try {
      return localStorage.getItem("scheme");
    } catch {
      return null; // the reader keeps pages from storing anything
    }
  },
  set chosen(name) {
    document.documentElement.dataset.scheme = name;
    try {
      localStorage.setItem("scheme", name);
    } catch {
      // it holds for this page
    }
  },
};
if (scheme.chosen) document.documentElement.dataset.scheme = scheme.chosen;
