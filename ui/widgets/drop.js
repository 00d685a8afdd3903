// Takes files and folders as they are dropped, sends them in parts, and says what became of them.
const find = (selector) => element.querySelector(selector);
const AT_ONCE = 4, PART = 40;   // uploads side by side; images that one request takes in
const going = find(".going"), result = find(".result"), refused = find(".refused");
let busy = false;

async function unfolded(entry, inside = "") {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    return [{ file, name: inside + entry.name }];
  }
  const reader = entry.createReader(), found = [];
  for (let part; (part = await new Promise((resolve, reject) => reader.readEntries(resolve, reject))).length;) found.push(...part);
  return (await Promise.all(found.map((child) => unfolded(child, `${inside}${entry.name}/`)))).flat();
}

const stem = (name) => name.replace(/\.[^./]*$/, "").toLowerCase();
const about = /(^|\/)metadata\.(jsonl|csv)$/i;

// Parts of about PART files; an image and its caption stay together, what describes a whole folder goes into each part.
function parts(files) {
  const whole = files.filter(({ name }) => about.test(name)), single = files.filter(({ name }) => !about.test(name));
  single.sort((a, b) => stem(a.name) < stem(b.name) ? -1 : stem(a.name) > stem(b.name) ? 1 : 0);
  const made = [];
  for (const file of single) {
    const last = made.at(-1);
    if (!last || (last.length >= PART && stem(last.at(-1).name) !== stem(file.name))) made.push([file]); else last.push(file);
  }
  return made.length ? made.map((part) => [...part, ...whole]) : [whole];
}

function progress(done, of, words) {
  going.hidden = false;
  find("progress").value = of ? done / of : 0;
  going.querySelector("span").textContent = words;
}

async function take(files) {
  if (busy || !files.length) return;
  busy = true; result.hidden = refused.hidden = true;
  const told = { data: props.value?.data || "", added: 0, captioned: 0, refused: [] };
  try {
    let sent = 0;
    const waiting = [...files];
    progress(0, files.length, `Uploading ${files.length} file${files.length === 1 ? "" : "s"}`);
    await Promise.all(Array.from({ length: AT_ONCE }, async () => {
      for (let next; (next = waiting.shift());) {
        next.path ??= (await upload(next.file)).path;
        progress(++sent, files.length * 2, `Uploading: ${sent} of ${files.length}`);
      }
    }));
    let taken = 0;
    for (const part of parts(files)) {
      const answer = await server.add({ data: told.data, files: part.map(({ path, name }) => ({ path, name })) });
      if (answer.error) { told.refused.push(answer.error); if (!answer.data) continue; }
      told.data = answer.data;
      told.added += answer.added ?? 0; told.captioned += answer.captioned ?? 0; told.refused.push(...(answer.refused ?? []));
      taken += part.length;
      progress(files.length + taken, files.length * 2, `Looking at the images: ${Math.min(taken, files.length)} of ${files.length}`);
    }
  } catch (error) {
    told.refused.push(`Not all could be sent (${error?.message ?? error}). Try again; what is there already stays.`);
  }
  busy = false; going.hidden = true;
  tell(told);
  if (told.added || told.captioned) trigger("added", { data: told.data, added: told.added, refused: told.refused.length });
}

function tell({ added, captioned, refused: sentences }) {
  const images = (number) => `${number} image${number === 1 ? "" : "s"}`;
  result.textContent = added ? `Added ${images(added)}.` : captioned ? `Added captions to ${images(captioned)}.` : "No image was added.";
  result.className = `note result ${added || captioned ? "good" : "bad"}`; result.hidden = false;
  refused.hidden = !sentences.length; refused.open = sentences.length > 0 && sentences.length < 6;
  refused.querySelector("summary").textContent = `${sentences.length} not taken: why`;
  refused.querySelector("ul").replaceChildren(...sentences.map((sentence) => Object.assign(document.createElement("li"), { textContent: sentence })));
}

// What is dropped while a dataset is open is added to it.
function showInto() {
  const { data, title } = props.value ?? {};
  find(".into").hidden = !data;
  find(".into b").textContent = title ? `“${title}”` : "the open dataset";
}
watch("value", showInto);
showInto();

const picked = (input) => {
  take([...input.files].map((file) => ({ file, name: file.webkitRelativePath || file.name })));
  input.value = "";
};
find(".pick-files").addEventListener("click", () => find(".files").click());
find(".pick-folder").addEventListener("click", () => find(".folder").click());
find(".files").addEventListener("change", (event) => picked(event.target));
find(".folder").addEventListener("change", (event) => picked(event.target));

// The whole page catches what is dropped, for a near miss would make the browser open the image and lose the page.
const zone = find(".zone"), alive = () => element.isConnected && element.offsetParent !== null;
const over = (event) => { if (alive() && event.dataTransfer?.types.includes("Files")) { event.preventDefault(); zone.classList.add("over"); } };
document.addEventListener("dragover", over);
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) zone.classList.remove("over"); });
document.addEventListener("drop", async (event) => {
  if (!alive() || !event.dataTransfer?.items?.length) return;
  event.preventDefault(); event.stopPropagation(); zone.classList.remove("over");
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  take((await Promise.all(entries.map((entry) => unfolded(entry)))).flat());
});
