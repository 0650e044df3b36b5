// The page's small script; without it, every form and link still works.
"use strict";

// Set the reader's time zone once; a zone that the reader chose in the footer stays.
const asks = document.body.dataset.askZone;
if (asks !== undefined) {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (zone && /^[A-Za-z0-9_+\-/]{1,64}$/.test(zone)) {
    document.cookie = `tz=${zone}; path=/; max-age=31536000; samesite=lax`;
    if (asks === "reload" && document.cookie.includes(`tz=${zone}`)) location.reload();
  }
}

// The ETag of each part: the server answers 304 while the part is unchanged, and then nothing is swapped.
const tags = new Map();
const kept = new WeakMap(); // by request: the open details, the chosen options and the focus
let touched = "";
document.body.addEventListener("htmx:configRequest", (event) => {
  const { verb, path, headers } = event.detail;
  touched = document.activeElement?.id ?? ""; // a button that is disabled during its request loses the focus
  if (verb === "get" && tags.has(path)) headers["If-None-Match"] = tags.get(path);
});

document.body.addEventListener("htmx:beforeSwap", (event) => {
  const { xhr, requestConfig, target } = event.detail;
  if (xhr.status === 401) { // signed out in the meantime: reload the page, which asks to sign in
    event.detail.shouldSwap = false;
    location.reload();
    return;
  }
  if (requestConfig.verb === "get" && xhr.status === 200) {
    const tag = xhr.getResponseHeader("ETag");
    if (tag) tags.set(requestConfig.path, tag);
  } else {
    tags.clear(); // after a change every part may differ
  }
  if (xhr.status < 400 && target.id !== "notice") document.getElementById("notice").replaceChildren();
  // Open details stay open, and chosen options stay chosen.
  kept.set(xhr, {
    focus: touched,
    open: [...target.querySelectorAll("details[open][id]")].map((each) => each.id),
    chosen: [...target.querySelectorAll("select[id]")].map((each) => [each.id, each.value]),
  });
});

document.body.addEventListener("htmx:afterSwap", (event) => {
  const { xhr, requestConfig, target } = event.detail;
  const had = kept.get(xhr);
  if (had && requestConfig.verb === "get") {
    for (const id of had.open) document.getElementById(id)?.setAttribute("open", "");
    for (const [id, value] of had.chosen) {
      const select = document.getElementById(id);
      if (select && [...select.options].some((option) => option.value === value)) select.value = value;
    }
  }
  if (had && requestConfig.verb === "post" && document.activeElement === document.body) {
    const next = document.getElementById(had.focus) ?? document.getElementById(target.id);
    next?.focus({ preventScroll: true });
  }
  // The tab says it too: people wait in another one.
  const titled = document.querySelector("[data-title]");
  if (titled) document.title = document.title.replace(/^[^·]*/, `${titled.dataset.title} `);
  // One live region tells screen readers the state, only when its sentence changes.
  const said = [...document.querySelectorAll("[data-say]")].map((each) => each.dataset.say).join(" ");
  const live = document.getElementById("live");
  if (live && live.textContent !== said) live.textContent = said;
});

// Whoever allowed it is told while the tab is in the background, too: the notebook is ready, or will be stopped.
const notebook = () => document.getElementById("notebook")?.dataset ?? {};
const may = () => ("Notification" in window ? Notification.permission : "denied");
const offer = () => {
  const tell = document.getElementById("tell");
  if (tell) tell.hidden = may() !== "default";
};
let known = notebook().news;
offer();
document.body.addEventListener("click", (event) => {
  if (event.target.id === "tell-me") Notification.requestPermission().then(offer);
});
document.body.addEventListener("htmx:afterSwap", () => {
  offer();
  const { news, say, title } = notebook();
  if (news && news !== known && document.hidden && may() === "granted") {
    try {
      new Notification(title, { body: say, tag: "notebook" }).onclick = () => window.focus();
    } catch { /* a phone's browser: only its service worker may */ }
  }
  known = news;
});

document.body.addEventListener("htmx:sendError", () => {
  const text = document.createElement("p");
  text.className = "notice notice-trouble";
  text.textContent = document.body.dataset.offline;
  document.getElementById("notice").replaceChildren(text);
});

// A reader who comes back to this tab sees the present state.
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible") htmx.trigger(document.body, "refresh");
});
