// The review of a dataset: one card per image. The list comes once; every edit sends one row there and back.
const find = (selector) => element.querySelector(selector);
const grid = find(".cards"), status = find(".status"), search = find(".search");
const cards = new Map();      // image id -> {row, card, ...}
const chosen = new Set();
const CHUNK = 60;             // cards drawn per frame, so that the first ones can be used at once
let data = null, filter = "all", drawn = 0, captioning = null;

const make = (tag, className = "", text = "") => {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text) node.textContent = text;
  return node;
};
const say = (text, bad = false) => { status.textContent = text; status.classList.toggle("bad", bad); };
// What is asked is about the dataset that is open now, unless the request says of which it is; the answer says it too.
const ask = async (call, request = {}) => {
  const about = request.data ?? data;
  let answer;
  try { answer = await server[call]({ data: about, trigger: props.value?.trigger ?? "", base: props.value?.base ?? "", ...request }); }
  catch (error) { say("The studio does not answer. Is it still running? Your last change may not be saved.", true); throw error; }
  if (answer.error) { say(answer.error, true); throw new Error(answer.error); }
  return { ...answer, data: about };
};
const percent = (share) => `${Math.round(share * 100)}%`;

// one card

function drawCrop(entry) {
  const { row, crop, focus } = entry, [width, height] = row.kept, [x, y] = row.focus;
  const left = Math.min(Math.max(x - width / 2, 0), 1 - width), top = Math.min(Math.max(y - height / 2, 0), 1 - height);
  crop.style.cssText = `left:${left * 100}%;top:${top * 100}%;width:${width * 100}%;height:${height * 100}%`;
  crop.classList.toggle("whole", row.lost < 0.005);
  focus.style.left = `${x * 100}%`; focus.style.top = `${y * 100}%`;
  focus.setAttribute("aria-label", `Focus point of ${row.name}: ${percent(x)} from the left, ${percent(y)} from the top. Arrow keys move it.`);
}

const words = (text) => text.split(/\s+/).filter(Boolean).join(" ");   // as an edited caption is kept

// What was typed stays, and where it began from another caption than there is by now, the person decides.
function showCaption({ row, seen, sent, caption, other }) {
  const own = words(caption.value) !== words(seen.caption);
  if (!own) {
    seen.caption = row.caption;
    if (document.activeElement !== caption || words(caption.value) !== words(row.caption)) caption.value = row.caption;
  }
  other.hidden = !own || [seen.caption, sent].includes(row.caption);   // what we sent may be back before its answer
  other.querySelector("q").textContent = row.caption || "no caption";
}

function update(row) {
  const entry = cards.get(row.id);
  if (!entry) return;
  if (entry.waiting.has(saveFocus)) row.focus = entry.row.focus;
  else entry.seen.focus = row.focus;
  entry.row = row;
  if (!entry.card) { if (entry.typed === undefined) entry.seen.caption = row.caption; return; }   // nobody edits it yet
  showCaption(entry);
  entry.lost.textContent = row.lost < 0.005 ? `${row.width} × ${row.height}, used whole`
    : `${row.width} × ${row.height}, the crop loses ${percent(row.lost)}`;
  entry.warnings.replaceChildren(...row.warnings.map(({ code, text }) => {
    const item = make("li", "chip warn", text);
    item.dataset.code = code;
    return item;
  }));
  drawCrop(entry);
}

function moveFocus(entry, x, y) {
  entry.row.focus = [Math.min(Math.max(x, 0), 1), Math.min(Math.max(y, 0), 1)];
  drawCrop(entry);
}

// Edits of one image go one after the other, so that the last one stays; and to the dataset that it is in. They tell
// what was seen of the `field` that they change. One that is refused leaves that be, and what it is now is shown.
function send(entry, call, field, request) {
  entry.sending = (entry.sending ?? Promise.resolve()).then(async () => {
    const about = { data: entry.data, id: entry.row.id };
    try {
      const answer = await ask(call, { ...about, seen: entry.seen[field], ...request });
      entry.seen[field] = answer.rows[0][field];
      take(answer);
      say("Saved.");
    } catch (error) {
      take(await ask("rows", { ...about, ids: [entry.row.id] }));
      throw error;
    }
  }).catch((error) => console.warn(error.message));
  return entry.sending;
}

function later(entry, save, milliseconds) {
  clearTimeout(entry.waiting.get(save));
  entry.waiting.set(save, setTimeout(() => save(entry), milliseconds));
}

function due(entry, save) {
  clearTimeout(entry.waiting.get(save));
  entry.waiting.delete(save);
}

function saveCaption(entry) {
  due(entry, saveCaption);
  showCaption(entry);
  const text = words(entry.caption.value);
  if (!entry.other.hidden || text === (entry.sent ?? words(entry.seen.caption))) return;
  entry.sent = text;
  send(entry, "set_caption", "caption", { text }).then(() => { if (entry.sent === text) entry.sent = undefined; });
}

function saveFocus(entry) {
  due(entry, saveFocus);
  const [x, y] = entry.row.focus;
  send(entry, "set_focus", "focus", { x, y });
}

// Send what waits, and wait until all that was sent is there.
async function settle() {
  const entries = [...cards.values()];
  for (const entry of entries) for (const save of [...entry.waiting.keys()]) save(entry);
  await Promise.all(entries.map(({ sending }) => sending));
}

// What changes many images comes after the edits that were made before it, and before those that are made after it.
async function change(call, request) {
  const about = data;
  await settle();
  return ask(call, { data: about, ...request });
}

function build(entry) {
  const { row } = entry, card = make("article", "card");
  card.dataset.id = row.id;
  const frame = make("div", "frame"), pic = make("div", "pic"), seen = make("div", "seen"), image = make("img");
  pic.style.setProperty("--ratio", row.width / row.height);
  image.src = row.thumbnail; image.alt = row.caption || row.name; image.loading = "lazy"; image.decoding = "async"; image.draggable = false;
  entry.crop = make("div", "crop");
  entry.focus = make("button", "focus"); entry.focus.type = "button";
  seen.append(image, entry.crop); pic.append(seen, entry.focus); frame.append(pic);

  const about = make("div", "about"), name = make("span", "name", row.name), tick = make("input");
  name.title = row.name; tick.type = "checkbox"; tick.setAttribute("aria-label", `Select ${row.name}`);
  about.append(tick, name);
  entry.lost = make("div", "lost");
  entry.caption = make("textarea"); entry.caption.rows = 2; entry.caption.placeholder = "What is to be seen, in words";
  entry.caption.setAttribute("aria-label", `Caption of ${row.name}`);
  entry.other = make("div", "other"); entry.other.setAttribute("role", "status");
  const mine = make("button", "", "Keep mine"), theirs = make("button", "", "Take that"); mine.type = theirs.type = "button";
  entry.other.append("Changed elsewhere meanwhile, so yours is not saved. It says now:", make("q"), mine, theirs);
  entry.warnings = make("ul", "warnings");
  card.append(frame, about, entry.lost, entry.caption, entry.other, entry.warnings);
  entry.card = card;
  entry.caption.value = entry.typed ?? row.caption;

  tick.addEventListener("change", () => { tick.checked ? chosen.add(row.id) : chosen.delete(row.id); showMarked(); });
  entry.caption.addEventListener("input", () => later(entry, saveCaption, 700));
  entry.caption.addEventListener("change", () => saveCaption(entry));
  entry.caption.addEventListener("blur", () => { saveCaption(entry); });
  const decide = () => { entry.seen.caption = entry.row.caption; say(""); saveCaption(entry); entry.caption.focus(); };
  mine.addEventListener("click", decide);
  theirs.addEventListener("click", () => { entry.caption.value = entry.row.caption; decide(); });
  entry.focus.addEventListener("keydown", (event) => {
    const step = event.shiftKey ? 0.1 : 0.02;
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    if (event.key === "Home") moveFocus(entry, 0.5, 0.5);
    else if (moves[event.key]) moveFocus(entry, entry.row.focus[0] + moves[event.key][0], entry.row.focus[1] + moves[event.key][1]);
    else return;
    event.preventDefault();
    later(entry, saveFocus, 500);
  });
  const at = (event) => { const box = pic.getBoundingClientRect(); return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height]; };
  entry.focus.addEventListener("pointerdown", (event) => {
    event.preventDefault(); entry.focus.focus(); entry.focus.setPointerCapture(event.pointerId); entry.focus.classList.add("dragged");
    const drag = (moved) => moveFocus(entry, ...at(moved));
    entry.focus.addEventListener("pointermove", drag);
    entry.focus.addEventListener("lostpointercapture", () => {
      entry.focus.removeEventListener("pointermove", drag); entry.focus.classList.remove("dragged"); saveFocus(entry);
    }, { once: true });
  });
  pic.addEventListener("dblclick", (event) => { moveFocus(entry, ...at(event)); saveFocus(entry); });
  update(row);
  return card;
}

// the list

const matches = ({ row }) =>
  (filter === "all" || (filter === "warned" ? row.warnings.length > 0 : !row.caption)) &&
  (!search.value || `${row.caption} ${row.name}`.toLowerCase().includes(search.value.toLowerCase()));

// Those that are selected and in sight: what a search or a filter hides is never removed unseen.
const marked = () => [...chosen].filter((id) => cards.get(id)?.card && !cards.get(id).card.hidden);

function showMarked() {
  const { length } = marked();
  find(".remove").disabled = !length;
  find(".remove").textContent = length ? `Remove ${length} selected` : "Remove selected";
}

function count() {
  const rows = [...cards.values()], warned = rows.filter(({ row }) => row.warnings.length).length, bare = rows.filter(({ row }) => !row.caption).length;
  for (const [name, label, number] of [["all", "All", rows.length], ["warned", "Worth a look", warned], ["bare", "No caption", bare]]) {
    let button = find(`.filters [data-name=${name}]`);
    if (!button) {
      button = make("button"); button.type = "button"; button.dataset.name = name;
      button.addEventListener("click", () => { filter = name; show(); });
      find(".filters").append(button);
    }
    button.textContent = `${label} ${number}`;
    button.setAttribute("aria-pressed", filter === name);
  }
  find(".describe").disabled = !bare || captioning;
  find(".describe").textContent = bare ? `Write ${bare} missing caption${bare === 1 ? "" : "s"}` : "No caption is missing";
}

function show() {
  count();
  let any = false;
  for (const entry of cards.values()) {
    const shown = matches(entry);
    any ||= shown;
    if (entry.card) entry.card.hidden = !shown;
  }
  find(".nothing").hidden = any;
  find(".nothing").textContent = cards.size ? "No image matches." : "No image is left. Undo brings back what was removed.";
  showMarked();
}

function take({ data: about, rows = [], undo }) {
  if (about !== data) return;   // another dataset was opened meanwhile
  rows.forEach(update);
  if (undo !== undefined) { find(".undo").disabled = !undo; find(".undo").title = undo ? `Take back: ${undo}` : ""; }
  count();
}

function draw(turn) {
  if (turn !== drawn) return;   // another list came meanwhile
  const waiting = [...cards.values()].filter((entry) => !entry.card).slice(0, CHUNK);
  grid.append(...waiting.map((entry) => { const card = build(entry); card.hidden = !matches(entry); return card; }));
  if (waiting.length === CHUNK) requestAnimationFrame(() => draw(turn));
  else element.dataset.ready = data;
}

async function load() {
  const turn = ++drawn;
  data = props.value?.data || null;
  delete element.dataset.ready;
  await settle();
  if (turn !== drawn) return;
  if (!data) { cards.clear(); chosen.clear(); grid.replaceChildren(); return; }
  const answer = await ask("rows");
  if (turn !== drawn) return;
  const undecided = new Map([...cards].filter(([, { other }]) => other && !other.hidden));
  cards.clear(); chosen.clear(); grid.replaceChildren();
  answer.rows.forEach((row) => {
    const { seen, caption } = undecided.get(row.id) ?? {};
    cards.set(row.id, { row, data, waiting: new Map(), seen: { caption: row.caption, ...seen, focus: row.focus }, typed: caption?.value });
  });
  draw(turn); show(); take({ data, undo: answer.undo });
  find(".crops").textContent = answer.crops; find(".crops").hidden = !answer.crops;
  showRefused(answer.refused);
  if (answer.captioning) watchCaptions(answer.captioning);
}

// After images went or came back: the page counts them too.
async function reload() {
  await load();
  trigger("counted", { count: cards.size });
}

// Files that were not taken, as the place to drop them said it, for whoever has not seen it there.
function showRefused(sentences) {
  const list = find(".refused");
  list.hidden = !sentences.length; list.open = sentences.length < 6;
  list.querySelector("summary").textContent = `${sentences.length} not taken: why`;
  list.querySelector("ul").replaceChildren(...sentences.map((sentence) => make("li", "", sentence)));
}

// tools

find(".refused button").addEventListener("click", async () => {
  const answer = await ask("forget_refused");
  if (answer.data === data) showRefused([]);
});
search.addEventListener("input", show);
find(".undo").addEventListener("click", async () => {
  const answer = await change("undo");
  if (answer.reload && answer.data === data) await reload(); else take(answer);
  say(answer.said);
});
find(".remove").addEventListener("click", async () => {
  const answer = await change("remove", { ids: marked() });
  if (answer.data === data) await reload();
  say(answer.said);
});
find(".replace").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = new FormData(event.target);
  const answer = await change("replace", { find: form.get("find"), put: form.get("put"), case: form.get("case") === "on" });
  take(answer); show(); say(answer.said);
});
find(".around").addEventListener("submit", async (event) => {
  event.preventDefault();
  const answer = await change("around", { words: new FormData(event.target).get("words"), where: event.submitter?.value ?? "prefix" });
  take(answer); show(); say(answer.said);
});

async function watchCaptions(job) {
  if (captioning === job) return;
  const about = data;
  captioning = job; find(".stop").hidden = false; count();
  try {
    for (let running = true; running && about === data;) {
      const answer = await ask("captioning", { data: about, job, ids: [...cards.values()].filter(({ row }) => !row.caption).map(({ row }) => row.id) });
      if (about !== data) break;
      take(answer); say(answer.said, answer.failed); running = answer.running;
      if (running) await new Promise((resolve) => setTimeout(resolve, 700));
    }
  } finally { if (captioning === job) { captioning = null; find(".stop").hidden = true; show(); } }
}
find(".captioner").addEventListener("submit", async (event) => {
  event.preventDefault();
  const answer = await change("describe", { captioner: new FormData(event.target).get("captioner") });
  if (answer.data === data) watchCaptions(answer.job);
});
find(".stop").addEventListener("click", () => ask("stop", { job: captioning }));
document.addEventListener("visibilitychange", () => {
  if (document.hidden) for (const entry of cards.values()) if (entry.card) saveCaption(entry);
});

const key = () => JSON.stringify([props.value?.data, props.value?.trigger, props.value?.base, props.value?.round]);
let shown = key();
watch("value", () => { if (key() !== shown) { shown = key(); load(); } });
if (props.value?.data) load();
