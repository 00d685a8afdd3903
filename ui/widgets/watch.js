// How a training stands. The value is {"title", "state", "word", "share", "doing", "error", "facts": [[name, text], ...]}.
const find = (selector) => element.querySelector(selector);
const tones = { running: "good", done: "good", failed: "bad", paused: "warn", pausing: "warn" };
function draw() {
  const job = props.value ?? {};
  find(".watch").hidden = !job.state;
  if (!job.state) return;
  find(".watch").dataset.state = job.state;
  find("h2").textContent = job.title;
  find(".state").textContent = job.word; find(".state").className = `chip state ${tones[job.state] ?? ""}`;
  find("progress").value = job.share; find(".doing").textContent = job.doing;
  find(".error").hidden = !job.error; find(".error").textContent = job.error;
  find("dl").replaceChildren(...job.facts.map(([name, text]) => {
    const pair = document.createElement("div"), term = document.createElement("dt"), what = document.createElement("dd");
    term.textContent = name; what.textContent = text; pair.append(term, what);
    return pair;
  }));
}
watch("value", draw);
draw();
