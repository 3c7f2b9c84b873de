// What the pages do beyond links and forms; all of it can be done without. No build step, no library.
"use strict";

const $ = (selector, root = document) => root.querySelector(selector);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];

// --- Folded filters on a narrow screen.
if (matchMedia("(max-width: 56rem)").matches) $(".filters")?.removeAttribute("open");

// --- A message's verdict in the URL is said once, not again when the page is reloaded.
{
  const url = new URL(location);
  for (const name of ["judged", "count", "as_", "undone"]) url.searchParams.delete(name);
  if (url.href !== location.href) history.replaceState(null, "", url);
}

// --- The marked one of a list's traces or of a trace's messages.
const things = all("[data-item], [data-message]");
let marked = -1;
function mark(index, scroll = true) {
  if (!things.length) return;
  things[marked]?.classList.remove("marked");
  marked = Math.max(0, Math.min(index, things.length - 1));
  const thing = things[marked];
  thing.classList.add("marked");
  if (scroll) {
    const box = thing.getBoundingClientRect();
    if (box.top < 70 || box.bottom > innerHeight - 20) thing.scrollIntoView({ block: box.height > innerHeight / 2 ? "start" : "center" });
  }
  const focus = thing.matches("[data-message]") ? thing : $(".title", thing);
  focus?.focus({ preventScroll: true });
  for (const link of all(".outline li")) link.classList.toggle("now", $("a", link).hash === `#${thing.id}`);
}
const steps = (by) => mark(marked < 0 ? (by > 0 ? 0 : things.length - 1) : marked + by);
if (location.hash) {
  const index = things.findIndex((thing) => `#${thing.id}` === location.hash);
  if (index >= 0) mark(index, false);
}
addEventListener("hashchange", () => {
  const index = things.findIndex((thing) => `#${thing.id}` === location.hash);
  if (index >= 0) mark(index, false);
});
for (const [index, thing] of things.entries()) thing.addEventListener("click", () => { if (marked !== index && !getSelection().toString()) { things[marked]?.classList.remove("marked"); marked = index; thing.classList.add("marked"); } });

// --- Verdicts.
function judge(verdict) {
  const form = $("#verdict");
  if (form) return $(`button[value="${verdict}"]`, form).click();
  const bulk = $("#bulk");
  if (!bulk) return;
  const chosen = all('input[name="id"]:checked', bulk).length || $("[data-everything]", bulk)?.checked;
  const box = things[marked] && $('input[name="id"]', things[marked]);
  if (!chosen && box && !box.disabled) box.checked = true;
  if (chosen || box?.checked) $(`button[value="${verdict}"]`, bulk).click();
}
$("[data-all]")?.addEventListener("change", (event) => { for (const box of all('#bulk input[name="id"]:not(:disabled)')) box.checked = event.target.checked; });
$("#bulk")?.addEventListener("submit", (event) => {
  const everything = $("[data-everything]");
  const say = everything?.checked && `${event.submitter.textContent} ${everything.nextElementSibling.textContent} traces?`;
  if (say && !confirm(say)) event.preventDefault();
});

// --- Forms: menus that act at once, text fields that grow, arguments that are checked while one types.
for (const field of all("[data-submit]")) field.addEventListener("change", () => field.form.requestSubmit());
const grow = (area) => { area.style.height = "auto"; area.style.height = `${Math.min(area.scrollHeight + 2, innerHeight * 0.7)}px`; };
for (const area of all("[data-edit] textarea:not([name=messages])")) { grow(area); area.addEventListener("input", () => grow(area)); }
for (const call of all("[data-call]")) {
  const form = call.closest("form"), said = $("[data-fault]", call);
  let waiting;
  call.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(async () => {
      const name = $("select", call).value;
      if (!name) return void (said.textContent = "");
      const body = new URLSearchParams({ trace: form.dataset.trace, call: name, arguments: $("textarea", call).value });
      const answer = await fetch("/validate", { method: "POST", body, headers: { "X-Token": document.body.dataset.token } });
      if (answer.ok) said.textContent = (await answer.json()).fault;
    }, 250);
  });
}
const editor = $("[data-edit]");
if (editor && !editor.closest("details")) { const first = $("textarea[name=content], textarea", editor); first?.focus({ preventScroll: true }); editor.scrollIntoView({ block: "nearest" }); }
let changed = false;
for (const form of all("[data-edit]")) {
  form.addEventListener("input", () => (changed = true));
  form.addEventListener("submit", () => (changed = false));
}
addEventListener("beforeunload", (event) => { if (changed) event.preventDefault(); });
addEventListener("click", (event) => { for (const menu of all("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false; });

// --- A page that is under way asks for itself again, and is left alone where nothing is new.
async function renew() {
  const live = $("[data-live]");
  if (!live?.hasAttribute("data-runs")) return;
  try {
    const html = await (await fetch(location.href)).text();
    const fresh = $("[data-live]", new DOMParser().parseFromString(html, "text/html"));
    if (fresh && fresh.dataset.live !== live.dataset.live) {
      live.replaceWith(fresh);
      $("[data-question] button, .button.primary", fresh)?.focus();
    }
  } catch { /* the server is gone: it says so when one goes on */ }
  setTimeout(renew, 700);
}
renew();

// --- The words that the list was searched for, marked in the trace.
{
  const asked = new URLSearchParams(location.search).get("q") || "";
  const words = [...asked.matchAll(/"([^"]*)"|([^\s"]+)/g)].map((found) => (found[1] || found[2] || "").toLowerCase()).filter(Boolean);
  const conversation = $(".conversation");
  if (words.length && conversation && window.Highlight) {
    const ranges = [];
    const walker = document.createTreeWalker(conversation, NodeFilter.SHOW_TEXT);
    for (let node; (node = walker.nextNode()) && ranges.length < 2000;) {
      if (!node.parentElement.closest(".text, pre")) continue;
      const text = node.data.toLowerCase();
      for (const word of words)
        for (let at = text.indexOf(word); at >= 0; at = text.indexOf(word, at + word.length)) {
          const range = new Range();
          range.setStart(node, at);
          range.setEnd(node, at + word.length);
          ranges.push(range);
          const long = node.parentElement.closest("details.long");
          if (long && !node.parentElement.closest("summary")) long.open = true;
        }
    }
    CSS.highlights.set("found", new Highlight(...ranges));
    const message = ranges[0]?.startContainer.parentElement.closest("[data-message]");
    if (message && !location.hash) mark(things.indexOf(message));
  }
}

// --- Keys.
const help = $("#help");
$("[data-help]").addEventListener("click", () => help.showModal());
const follow = (selector) => { const link = $(selector); if (link) link.click(); return Boolean(link); };
const ofMarked = (selector) => {
  let thing = things[marked];
  if (!thing || !$(selector, thing)) thing = things.filter((one) => $(selector, one)).pop();
  if (thing) $(selector, thing).click();
};
const keys = {
  j: () => steps(1), k: () => steps(-1),
  n: () => follow("[data-next], .pages [rel=next]"), p: () => follow("[data-previous], .pages [rel=prev]"), s: () => follow("[data-next]"),
  a: () => judge("approved"), r: () => judge("rejected"), u: () => judge("undecided"),
  x: () => { const box = things[marked] && $('input[name="id"]', things[marked]); if (box && !box.disabled) box.checked = !box.checked; },
  z: () => $("[data-undo]")?.requestSubmit(),
  e: () => ofMarked("[data-edit-link]"), t: () => ofMarked("[data-tokens]"),
  y: () => { const thing = things[marked]; (thing && $("[data-confirm]", thing))?.click(); }, g: () => ofMarked("[data-rerun]"),
  o: () => { const folds = all(".reasoning"), open = folds.some((fold) => fold.open); for (const fold of folds) fold.open = !open; },
  c: () => $("[data-comment]")?.focus(),
  l: () => follow("[data-list]"),
  1: () => follow('[data-choose="1"]'), 2: () => follow('[data-choose="2"]'),
  "/": () => { const field = $("[data-search]"); if (field) { field.focus(); field.select(); } else location.href = $("[data-list]")?.pathname === "/" ? `${$("[data-list]").href}#search` : "/#search"; },
  "?": () => help.showModal(),
};
if (location.hash === "#search") $("[data-search]")?.focus();
addEventListener("keydown", (event) => {
  const typing = event.target.matches("input:not([type=checkbox]), textarea, select");
  if (event.key === "Escape") {
    if (typing) event.target.blur(); else if (!help.open) follow("[data-leave]");
    return;
  }
  if ((event.ctrlKey || event.metaKey) && event.key === "Enter") { const form = event.target.closest("form"); if (form) form.requestSubmit(); return; }
  if (typing || event.ctrlKey || event.metaKey || event.altKey || help.open) return;
  const action = keys[event.key];
  if (action) { event.preventDefault(); action(); }
});
