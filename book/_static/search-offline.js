// Search results show where a word stands. Sphinx fetches each page for that, which a browser forbids to pages that are
// opened from disk: there the words come from search-texts.js, which was loaded as a script.
if (location.protocol === "file:" && typeof PAGE_TEXTS !== "undefined") {
  const elsewhere = window.fetch.bind(window);
  const root = new URL(document.documentElement.dataset.content_root || "./", location.href).href;
  window.fetch = (address, ...more) => {
    const whole = new URL(address, location.href).href;
    const name = decodeURI(whole.slice(root.length)).replace(/\.html$/, "");
    const known = whole.startsWith(root) && Object.hasOwn(PAGE_TEXTS, name);
    return known ? Promise.resolve(new Response(PAGE_TEXTS[name])) : elsewhere(address, ...more);
  };
}
