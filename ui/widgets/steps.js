// The four steps of teaching, as a strip of buttons; "go" is triggered with the step that is wanted.
const list = element.querySelector("ol");
function draw() {
  const { current = "images", open = ["images"], notes = {} } = props.value ?? {};
  const names = { images: "Images", review: "Review", choose: "Choose", watch: "Watch" };
  list.replaceChildren(...Object.entries(names).map(([step, name], place) => {
    const item = document.createElement("li"), button = document.createElement("button"), number = document.createElement("span");
    const text = document.createElement("span"), note = document.createElement("small");
    number.className = "number"; number.textContent = place + 1;
    text.className = "text"; text.textContent = name;
    note.textContent = notes[step] ?? "";
    text.append(note);
    button.type = "button"; button.dataset.step = step; button.disabled = !open.includes(step);
    if (step === current) button.setAttribute("aria-current", "step");
    button.append(number, text);
    button.addEventListener("click", () => { if (step !== props.value?.current) trigger("go", { step }); });
    item.append(button);
    return item;
  }));
}
watch("value", draw);
draw();
