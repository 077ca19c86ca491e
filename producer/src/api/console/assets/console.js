// Renews the part of a page that says so (data-renew, in milliseconds), as long as somebody can see it. What is open, focused or
// half typed stays as it is. Without this script a page shows the moment at which it was asked for.
(() => {
  "use strict";
  const main = document.querySelector("main");
  const silent = document.getElementById("silent");
  let timer = 0;

  const period = () => Number(main.dataset.renew) || 0;

  // What a person has changed on the page is not the server's.
  const own = (element, name) => name === "open" && element.nodeName === "DETAILS";

  function attributes(fresh, shown) {
    for (const { name } of [...shown.attributes]) {
      if (!fresh.hasAttribute(name) && !own(shown, name)) shown.removeAttribute(name);
    }
    for (const { name, value } of fresh.attributes) {
      if (shown.getAttribute(name) !== value && !own(shown, name)) shown.setAttribute(name, value);
    }
  }

  const mark = (node) =>
    node.nodeType === Node.ELEMENT_NODE
      ? [node.nodeName, node.id, node.getAttribute("aria-labelledby"), (node.getAttribute("class") || "").split(" ")[0]].join("|")
      : node.nodeName;
  const alike = (one, other) => mark(one) === mark(other);

  function merge(fresh, shown) {
    if (fresh.nodeType !== Node.ELEMENT_NODE) {
      if (shown.data !== fresh.data) shown.data = fresh.data;
      return;
    }
    attributes(fresh, shown);
    let old = shown.firstChild;
    for (const child of [...fresh.childNodes]) {
      let match = old;
      while (match && !alike(child, match)) match = match.nextSibling;
      if (!match) {
        shown.insertBefore(document.importNode(child, true), old);
        continue;
      }
      while (old !== match) old = without(old);
      merge(child, match);
      old = match.nextSibling;
    }
    while (old) old = without(old);
  }

  function without(node) {
    const next = node.nextSibling;
    node.remove();
    return next;
  }

  const usually = silent.textContent;

  async function renew() {
    let why = usually;
    try {
      const answer = await fetch(location.href, { headers: { "Muster-Live": "1" }, cache: "no-store" });
      // Signed out, not allowed any more, or gone: the page itself says what is so.
      if ([401, 403, 404].includes(answer.status)) return location.reload();
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (!answer.ok) {
        // It answers, and says what is away.
        const told = [...page.querySelectorAll("main h1, main .lead")].map((part) => part.textContent.replace(/([^.])$/, "$1."));
        if (told.length) why = `${told.join(" ")} What you see is as it was; it is asked again.`;
        throw new Error(String(answer.status));
      }
      const fresh = page.querySelector("main");
      // Another session, or this one in another tenant meanwhile: what this page shows is not its business any more.
      if (fresh && fresh.dataset.session !== main.dataset.session) return location.reload();
      if (fresh) merge(fresh, main);
      silent.hidden = true;
    } catch {
      silent.textContent = why;
      silent.hidden = false;
    }
    later();
  }

  function later() {
    clearTimeout(timer);
    if (period() > 0 && !document.hidden) timer = setTimeout(renew, period());
  }

  if (!main) return;
  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    if (period() > 0 && !document.hidden) renew();
  });
  later();
})();
