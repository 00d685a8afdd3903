// A form made of the recipe's own table of settings. The value's `set` holds what the person decided, as text the way
// TOML has it; "input" is triggered with {set} whenever that changes, and the page answers with what is wrong.
const find = (selector) => element.querySelector(selector);
const make = (tag, className = "", text = "") => { const node = document.createElement(tag); if (className) node.className = className; if (text) node.textContent = text; return node; };
let set = {}, drawnFor = "", fields = [];
const spoken = (value) => ({ true: "yes", false: "no" })[value] ?? value;
const decided = new Set();   // what was sent since the page last answered to the newest of it

function control(name, setting, id) {
  let input;
  if (setting.choices.length) {
    input = make("select");
    input.append(...["", ...setting.choices].map((choice) => Object.assign(make("option"), { value: choice, textContent: choice ? spoken(choice) : `as suggested (${spoken(setting.suggested)})` })));
  } else if (setting.lines) {
    input = make("textarea"); input.rows = 3; input.placeholder = setting.suggested || setting.placeholder;
  } else {
    input = make("input"); input.type = "text"; input.autocomplete = "off"; input.placeholder = setting.suggested;
    if (setting.number) input.inputMode = "decimal";
  }
  input.id = id; input.value = set[name] ?? ""; input.dataset.setting = name;
  input.setAttribute("aria-describedby", `${id}-help`);
  input.addEventListener("change", () => decide(name, input.value));
  return input;
}

function draw(name, setting, where) {
  const id = `${where}-${name}`, node = make("div", "setting"), top = make("div", "top");
  const label = make("label", "", where === "main" ? setting.title : name.replaceAll("_", " ")); label.htmlFor = id;
  const mark = make("span", "chip good mark", "yours"), back = make("button", "link back", "as suggested"); back.type = "button";
  back.setAttribute("aria-label", `Set ${label.textContent} back to what is suggested`);
  top.append(label, make("span", "unit", setting.unit), mark);
  const input = control(name, setting, id), help = make("p", "help", setting.help); help.id = `${id}-help`;
  const why = make("p", "why"), range = make("span", "range", setting.range);
  back.addEventListener("click", () => { input.value = ""; decide(name, ""); input.focus(); });
  node.append(top, input, help, why);
  if (where === "all") node.append(range);
  node.append(back);
  fields.push({ name, setting, node, input, mark, back, why, words: `${name} ${setting.title} ${setting.help} ${setting.reason} ${setting.unit}`.toLowerCase() });
  return node;
}

function decide(name, text) {
  decided.add(JSON.stringify(set));   // an answer to what was before may still be on its way
  if (text.trim() === "") delete set[name]; else set[name] = text;
  props.value = { ...props.value, set: { ...set } };
  decided.add(JSON.stringify(set));
  refresh();
  trigger("input", { set: { ...set } });
}

function refresh() {
  for (const { name, setting, node, input, mark, back, why } of fields) {
    const own = name in set && set[name] !== setting.suggested;
    if (document.activeElement !== input) input.value = set[name] ?? "";
    mark.hidden = back.hidden = !own;
    why.textContent = own ? `Suggested: ${spoken(setting.suggested) || "nothing"}. ${setting.reason}` : setting.reason;
    node.classList.toggle("wrong", props.value?.wrong === name);
  }
  const own = Object.keys(set).length;
  find(".count").textContent = own ? `${own} of your own` : "all as suggested";
  const problem = find(".problem");
  problem.hidden = !props.value?.problem; problem.textContent = props.value?.problem ?? "";
}

function search() {
  const words = find(".search").value.toLowerCase().trim();
  let any = false;
  for (const { node, words: own } of fields) if (node.closest(".groups")) { node.hidden = !own.includes(words); any ||= !node.hidden; }
  for (const group of element.querySelectorAll(".group")) group.hidden = ![...group.querySelectorAll(".setting")].some((node) => !node.hidden);
  find(".none").hidden = any;
}

function take() {
  const { settings = {}, main = [] } = props.value ?? {};
  const told = JSON.stringify(props.value?.set ?? {});
  if (decided.has(told) && told !== JSON.stringify(set)) props.value = { ...props.value, set: { ...set } };   // an answer to an older change
  else { set = { ...(props.value?.set ?? {}) }; decided.clear(); }
  const table = JSON.stringify([settings, main]);
  if (table !== drawnFor) {
    drawnFor = table; fields = [];
    find(".main-settings").replaceChildren(...main.map((name) => draw(name, settings[name], "main")));
    const groups = Map.groupBy(Object.entries(settings), ([, setting]) => setting.group);
    find(".groups").replaceChildren(...[...groups].map(([group, members]) => {
      const section = make("section", "group"), list = make("div", "list");
      list.append(...members.map(([name, setting]) => draw(name, setting, "all")));
      section.append(make("h3", "", group), list);
      return section;
    }));
    search();
  }
  refresh();
}

find(".search").addEventListener("input", search);
watch("value", take);
take();
