/** The page: tabs, forms, and the worker that answers. */

import { DRAW, make } from "./drawing.js";
import { tasksFor } from "./examples.js";

const at = (id) => document.getElementById(id);
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
const size = ({ files }) => Object.values(files).reduce((sum, { bytes }) => sum + bytes, 0);
const seconds = (milliseconds) => `${(milliseconds / 1000).toFixed(milliseconds < 9950 ? 2 : 0)} s`;
const site = new URL("..", import.meta.url);
const loaded = new Map(); // role to the promise that its model is there
const facts = new Map(); // role to what showed when its model was loaded
let models = {};
let tasks = []; // the rows of examples.js that these models answer
let chosen; // role of the chosen tab

const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
const waiting = new Map();
let last = 0;

worker.onmessage = ({ data: { id, progress, answer, error } }) => {
  const { resolve, reject, report } = waiting.get(id);
  if (progress) return report(progress);
  waiting.delete(id);
  return error === undefined ? resolve(answer) : reject(new Error(error));
};
worker.onerror = () => {
  for (const { reject } of waiting.values()) reject(new Error("This browser cannot run the model."));
  waiting.clear();
};

function call(message, report = () => {}) {
  const id = ++last;
  return new Promise((resolve, reject) => {
    waiting.set(id, { resolve, reject, report });
    worker.postMessage({ id, ...message });
  });
}

/** Fetch and start a model, once; its state is shown above the tabs. */
function want(role) {
  if (!loaded.has(role)) {
    const promise = begin(role);
    loaded.set(role, promise);
    promise.catch((error) => {
      loaded.delete(role);
      showFailure(error.message, () => want(role).catch(() => {}));
    });
  }
  return loaded.get(role);
}

async function begin(role) {
  const entry = models[role];
  at("retry").hidden = true;
  at("progress").hidden = false;
  at("model").classList.remove("failed");
  at("state").textContent = "Fetching the model …";
  const load = { role, url: new URL(entry.path, site).href, entry };
  const found = await call({ load }, ({ bytes, total }) => {
    at("progress").value = bytes / total;
    const done = bytes === total;
    at("size").textContent = `${megabytes(bytes)} of ${megabytes(total)}`;
    if (done) at("state").textContent = "Starting the model …";
  });
  at("state").textContent = "Ready.";
  at("progress").hidden = true;
  at("size").textContent = "";
  facts.set(role, found);
  showFacts();
}

/** Show what is known of the model behind the chosen tab. */
function showFacts() {
  at("facts").hidden = !facts.has(chosen);
  if (at("facts").hidden) return;
  const { total, cached, download, start, threads } = facts.get(chosen);
  const rows = [
    ["Size", megabytes(total)],
    [cached ? "From this device" : "Download", seconds(download)],
    ["Start", seconds(start)],
    ["Threads", String(threads)],
  ];
  at("facts").replaceChildren(...rows.map(([name, value]) =>
    make("div", {}, make("dt", {}, name), make("dd", {}, value))));
}

function showFailure(message, again) {
  at("model").classList.add("failed");
  at("state").textContent = message;
  at("progress").hidden = true;
  at("size").textContent = "";
  at("retry").hidden = false;
  at("retry").onclick = again;
}

// --- tabs ----------------------------------------------------------------------------------------

function select(task, focus = false) {
  for (const { id } of tasks) {
    const [tab, isChosen] = [at(`tab-${id}`), id === task.id];
    tab.setAttribute("aria-selected", String(isChosen));
    tab.tabIndex = isChosen ? 0 : -1;
    at(`panel-${id}`).hidden = !isChosen;
    if (isChosen && focus) tab.focus();
    if (isChosen) tab.scrollIntoView({ block: "nearest", inline: "nearest" });
  }
  chosen = task.role;
  showFacts();
  at("bytes").textContent = models[chosen] ? ` of ${megabytes(size(models[chosen]))}` : "";
  if (models[task.role]) want(task.role).catch(() => {});
  history.replaceState(null, "", `#${task.id}`);
}

function onTabKey(event) {
  const place = tasks.findIndex(({ id }) => at(`tab-${id}`) === event.target);
  const steps = { ArrowRight: place + 1, ArrowLeft: place - 1, Home: 0, End: tasks.length - 1 };
  if (!(event.key in steps)) return;
  event.preventDefault();
  select(tasks[(steps[event.key] + tasks.length) % tasks.length], true);
}

function drawTask(task) {
  const tab = make("button", { id: `tab-${task.id}`, type: "button", role: "tab",
    "aria-controls": `panel-${task.id}` }, task.title);
  tab.addEventListener("click", () => select(task));
  tab.addEventListener("keydown", onTabKey);
  at("tabs").append(tab);
  const content = models[task.role] ? form(task) : invitation(task);
  at("panels").append(make("div", { id: `panel-${task.id}`, role: "tabpanel", className: "panel",
    "aria-labelledby": `tab-${task.id}` }, make("p", { className: "lead" }, task.lead), ...content));
}

/** What a tab without its model says. */
function invitation({ commands = [] }) {
  const say = commands.length
    ? "There is no model for this beside the page yet. Three commands make one from your examples:"
    : "There is no pre-trained model beside this page.";
  const code = make("code", {}, commands.join("\n"));
  return [make("p", {}, say), ...(commands.length ? [make("pre", { tabIndex: 0 }, code)] : [])];
}

function form(task) {
  const inputs = task.fields.map(({ label, rows }, number) =>
    make("textarea", { id: `${task.id}-${number}`, rows, maxLength: 20000, "aria-label": label,
      value: task.examples[0][number] }));
  const fields = inputs.map((input, number) =>
    make("label", { htmlFor: input.id }, make("span", {}, task.fields[number].label), input));
  const button = make("button", { type: "submit", className: "ask" }, task.button);
  const time = make("span", { className: "time" });
  const result = make("div", { className: "result", "aria-live": "polite" });
  const whole = make("form", {}, ...fields, make("div", { className: "row" }, button, time));
  whole.addEventListener("submit", (event) => {
    event.preventDefault();
    answer(task, inputs.map((input) => input.value), { button, time, result });
  });
  inputs.forEach((input) => input.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      whole.requestSubmit();
    }
  }));
  return [chips(task, inputs, whole), whole, result];
}

const shortened = (text) =>
  text.length > 30 ? `${text.slice(0, 29).replace(/\s+\S*$/, "")} …` : text;

function chips(task, inputs, asking) {
  const row = make("div", { className: "chips", role: "group", "aria-label": "Examples" });
  task.examples.forEach((texts) => {
    const given = texts.filter(Boolean); // a second text may be left out
    const whole = given.join(" – ");
    const chip = make("button", { type: "button", title: whole, "aria-label": `Example: ${whole}` }, shortened(given.at(-1)));
    chip.addEventListener("click", () => {
      inputs.forEach((input, field) => (input.value = texts[field]));
      asking.requestSubmit();
    });
    row.append(chip);
  });
  return row;
}

async function answer(task, texts, { button, time, result }) {
  button.disabled = true;
  result.setAttribute("aria-busy", "true");
  try {
    await want(task.role);
    const { value, milliseconds } = await call({ ask: { role: task.role, task: task.task, texts } });
    result.replaceChildren(...DRAW[task.draw ?? task.task](value, texts));
    result.dataset.answer = JSON.stringify(value);
    time.textContent = `${milliseconds.toFixed(milliseconds < 10 ? 1 : 0)} ms`;
  } catch (error) {
    result.replaceChildren(make("p", { className: "problem", role: "alert" }, error.message));
    time.textContent = "";
  } finally {
    button.disabled = false;
    result.removeAttribute("aria-busy");
  }
}

// --- the beginning -------------------------------------------------------------------------------

async function start() {
  try {
    const response = await fetch(new URL("models.json", site));
    if (!response.ok) throw new Error(String(response.status));
    models = await response.json();
  } catch {
    showFailure("The list of models could not be fetched.", () => location.reload());
    return;
  }
  tasks = tasksFor(models);
  tasks.forEach(drawTask);
  const asked = tasks.find(({ id }) => `#${id}` === location.hash);
  select(asked ?? tasks.find(({ role }) => models[role]) ?? tasks[0]);
  await navigator.serviceWorker?.register(new URL("service-worker.js", site)).catch(() => {});
}

at("progress").after(make("p", { id: "size" }));
start();
