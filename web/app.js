// The console's page: shows what the API says, and nothing else. It keeps no state but the token,
// which comes in the fragment of the address (#token=…), moves to this tab's session storage and
// is removed from the address, so that it is neither sent nor kept in the history.

const POLL_RUNNING_MS = 1000;
const POLL_IDLE_MS = 10000;
const KEY = "holdfast-token";

const byId = (id) => document.getElementById(id);

// --- Text ---------------------------------------------------------------------------------

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

function size(bytes) {
  let value = bytes, unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) { value /= 1024; unit += 1; }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit]}`;
}

function duration(seconds) {
  const s = Math.max(0, Math.round(seconds));
  const parts = [[Math.floor(s / 3600), "h"], [Math.floor(s / 60) % 60, "min"], [s % 60, "s"]];
  const shown = parts.filter(([n], at) => n > 0 || (at === 2 && s < 60));
  return shown.slice(0, 2).map(([n, unit]) => `${n} ${unit}`).join(" ");
}

function time(text) {
  if (!text) return "";
  const format = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
  return element("time", { dateTime: text, title: text }, format.format(new Date(text)));
}

// --- Elements -----------------------------------------------------------------------------

// Text goes in as text nodes only: a name from the inventory can never become markup.
function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children.flat().filter((child) => child !== "" && child != null));
  return made;
}

const word = (text, className) => element("span", { className }, text);
const verdict = (isGood, good, bad) =>
  isGood ? word(`✓ ${good}`, "good") : word(`✕ ${bad}`, "bad");
const line = (...children) => element("p", {}, ...children);
const cell = (...children) => element("td", {}, ...children);
const number = (text) => element("td", { className: "number" }, text);
const row = (head, ...cells) =>
  element("tr", {}, element("th", { scope: "row" }, head), ...cells);

const shown = new Map();

// True once for each new value of a place: what has not changed is left alone, so that a text
// selection survives a refresh and a screen reader does not hear the same again.
function isNew(place, value) {
  const text = JSON.stringify(value);
  if (shown.get(place) === text) return false;
  shown.set(place, text);
  return true;
}

function fill(table, items, toRow, emptyText) {
  if (!isNew(table, items)) return;
  const columns = table.tHead.rows[0].cells.length;
  const words = element("td", { colSpan: columns, className: "empty" }, emptyText);
  const empty = element("tr", {}, words);
  table.tBodies[0].replaceChildren(...(items.length ? items.map(toRow) : [empty]));
}

// --- API ----------------------------------------------------------------------------------

class Refusal extends Error {
  constructor(problem) { super(problem.detail || problem.title); this.problem = problem; }
}

async function load(path) {
  const headers = { Authorization: `Bearer ${sessionStorage.getItem(KEY)}` };
  const response = await fetch(`/api/v1${path}`, { headers, cache: "no-store" });
  if (response.ok) return response.json();
  const fallback = { title: "The appliance refused", status: response.status, detail: "" };
  throw new Refusal(await response.json().catch(() => fallback));
}

// --- Status -------------------------------------------------------------------------------

function showStatus(status) {
  const ok = status.state === "ok";
  if (isNew(byId("health"), [status.state, status.version])) byId("health").replaceChildren(
    word(ok ? "✓ Everything works" : "▲ Needs attention", ok ? "good" : "warn"),
    ` · version ${status.version}`,
  );
  const reasonItem = (reason) =>
    element("li", {}, word(reason.text, "warn"), " ", reason.next_step);
  if (isNew(byId("reasons"), status.reasons)) {
    byId("reasons").replaceChildren(...status.reasons.map(reasonItem));
  }
  const { repository, vcenter } = status;
  const rows = [
    ["Repository", [`${size(repository.free_bytes)} of ${size(repository.capacity_bytes)} free, `,
      `${size(repository.stored_bytes)} stored in ${repository.segments} segments, `,
      `${repository.points} recovery points, in `, element("code", {}, repository.path)]],
    ["Read again", [verdict(repository.care.scrub.on_track, "on track", "behind"),
      ` · ${share(repository.care.scrub)} within ${repository.care.scrub.goal_days} days`]],
    ["Forecast", [repository.care.forecast?.text ?? "not known"]],
    ["vCenter", [verdict(vcenter.connected, "connected", "not connected"),
      ` · ${vcenter.full_name ?? ""} `, element("code", {}, vcenter.url),
      vcenter.error ? ` · ${vcenter.error}` : ""]],
    ["Clock", [time(status.wall_now)]],
    ["Retention clock", [time(status.retention_now), element("span", { className: "soft" },
      ` · locks end by this one; it is ${lag(status)}`)]],
  ];
  byId("status").replaceChildren(...rows.flatMap(([name, value]) =>
    [element("dt", {}, name), element("dd", {}, ...value)]));
  fill(byId("luns"), status.san.luns, lunRow, "No LUN is within reach.");
}

function share(scrub) {
  return `${scrub.bytes_total ? Math.floor(100 * scrub.bytes_within / scrub.bytes_total) : 100} %`;
}

function lag(status) {
  const seconds = (Date.parse(status.wall_now) - Date.parse(status.retention_now)) / 1000;
  return seconds >= 1 ? `${duration(seconds)} behind` : "not behind";
}

function lunRow(lun) {
  const state = verdict(lun.ready, "ready", lun.error ?? "not ready");
  return row(element("code", {}, lun.naa), cell(state), cell(lun.datastore ?? "not known"),
    number(size(lun.capacity_bytes)), cell(lun.target));
}

// --- Runs ---------------------------------------------------------------------------------

const RUN_STATES = {
  queued: ["… queued", "busy"],
  running: ["▶ running", "busy"],
  succeeded: ["✓ succeeded", "good"],
  warning: ["▲ succeeded with warnings", "warn"],
  failed: ["✕ failed", "bad"],
  cancelled: ["■ cancelled", "warn"],
};

const isActive = (run) => run.state === "queued" || run.state === "running";

function runRow(run) {
  const [text, className] = RUN_STATES[run.state] ?? [run.state, ""];
  const took = run.started && run.finished
    ? duration((Date.parse(run.finished) - Date.parse(run.started)) / 1000) : "";
  return row(run.vm.name, cell(run.kind), cell(word(text, className)), cell(...progressOf(run)),
    cell(time(run.started)), number(took), cell(...outcome(run)));
}

function progressOf(run) {
  const step = run.step ? [line(run.step)] : [];
  const progress = run.progress;
  if (!progress) return step;
  const share = progress.total_bytes > 0 ? progress.done_bytes / progress.total_bytes : 0;
  const left = progress.eta_seconds == null ? "" : `, ${duration(progress.eta_seconds)} left`;
  const done = `${size(progress.done_bytes)} of ${size(progress.total_bytes)}`;
  const figures = `${progress.disk}: ${done}, ${size(progress.rate_bytes_per_second)}/s${left}`;
  const bar = element("progress", { max: 1, value: share });
  bar.setAttribute("aria-label", `${run.vm.name}, ${progress.disk}`);
  return [...step, bar, line(figures)];
}

function outcome(run) {
  const lines = run.warnings.map((warning) => line(warning));
  if (run.error) {
    lines.push(line(`${run.error.title}. ${run.error.detail}`), line(run.error.next_step));
  }
  const result = run.result;
  if (result?.kind === "backup") {
    lines.push(line(`Recovery point `, element("code", {}, result.point.slice(0, 12)),
      `: ${size(result.san_read_bytes)} read from the SAN, ${size(result.network_read_bytes)} over `
      + `the network, ${size(result.stored_bytes)} stored`));
  }
  if (result?.kind === "verify") {
    lines.push(line(result.damage_total === 0
      ? `${size(result.bytes)} in ${result.chunks} chunks are intact`
      : `${result.damage_total} damaged places in ${size(result.bytes)}`));
  }
  return lines;
}

// --- Recovery points ----------------------------------------------------------------------

function lockWords(lock) {
  if (!lock) return word("not locked", "soft");
  if (!lock.locked) return element("span", {}, `lock in ${lock.mode} mode has ended`);
  return element("span", {}, word("■ locked", "good"), ` in ${lock.mode} mode at least until `,
    time(lock.until));
}

function verifiedWords(verified) {
  if (!verified) return word("not yet", "soft");
  const judged = verdict(verified.intact, "intact", "damaged");
  return element("span", {}, judged, " at ", time(verified.at));
}

function pointRow(point) {
  return row(point.vm.name, cell(time(point.created)), cell(lockWords(point.lock)),
    cell(verifiedWords(point.verified)),
    cell(`${point.mode}, ${point.transport === "san" ? "from the SAN" : "over the network"}`),
    number(size(point.size_bytes)), number(size(point.stored_new_bytes)),
    cell(element("code", { title: point.id }, point.id.slice(0, 12))));
}

// --- Virtual machines ---------------------------------------------------------------------

const TRANSPORTS = {
  san: ["✓ from the SAN", "good"],
  network: ["▲ over the network", "warn"],
  none: ["✕ not at all", "bad"],
};

function vmRow(vm) {
  const cbt = !vm.cbt.supported ? "not possible" : vm.cbt.enabled ? "on" : "off";
  const last = vm.last_point ? time(vm.last_point.created) : word("▲ none", "warn");
  return row(vm.name, cell(vm.power_state.replace("-", " ")), cell(cbt),
    cell(...vm.disks.map(diskLine)), cell(last));
}

function diskLine(disk) {
  const [text, className] = TRANSPORTS[disk.transport] ?? [disk.transport, ""];
  return line(`${disk.label}, ${size(disk.capacity_bytes)} on ${disk.datastore}: `,
    word(text, className), disk.reason ? `, because ${disk.reason}` : "");
}

// --- The page -----------------------------------------------------------------------------

function takeToken() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!token) return;
  sessionStorage.setItem(KEY, token);
  history.replaceState(null, "", location.pathname);
}

function notice(...lines) {
  const place = byId("notice");
  const text = lines.filter(Boolean);
  if (place.textContent === text.join("")) return; // Do not announce the same again.
  place.hidden = text.length === 0;
  place.replaceChildren(...text.map((part) => line(part)));
}

function askForToken(show) {
  byId("token-form").hidden = !show;
  byId("main").hidden = show;
  if (show && isNew(byId("health"), "closed")) byId("health").textContent = "Closed";
}

async function refreshAll() {
  const [status, runs, points, vms] = await Promise.allSettled([
    load("/status"), load("/runs?limit=20"), load("/points?limit=100"), load("/vms?limit=1000"),
  ]);
  const show = (outcome, put) => { if (outcome.status === "fulfilled") put(outcome.value); };
  show(status, showStatus);
  show(runs, (page) => fill(byId("runs"), page.items, runRow, "No run yet."));
  show(points, (page) => fill(byId("points"), page.items, pointRow, "No recovery point yet."));
  show(vms, (page) => fill(byId("vms"), page.items, vmRow, "The inventory is empty."));
  const failed = [status, runs, points, vms].find((outcome) => outcome.status === "rejected");
  if (failed) throw failed.reason;
  return runs.value.items.some(isActive);
}

async function refreshRuns() {
  const page = await load("/runs?limit=20");
  fill(byId("runs"), page.items, runRow, "No run yet.");
  return page.items.some(isActive);
}

let timer = 0;

// While something runs, only the runs are asked for every second; when the last one ends,
// everything once more.
async function tick(wasActive) {
  clearTimeout(timer);
  let active = false;
  try {
    active = wasActive ? await refreshRuns() : await refreshAll();
    if (wasActive && !active) active = await refreshAll();
    askForToken(false);
    notice();
  } catch (error) {
    const problem = error.problem;
    if (problem?.status === 401) {
      const first = !sessionStorage.getItem(KEY);
      sessionStorage.removeItem(KEY);
      askForToken(true);
      notice(first ? "" : "The token is not the one that this appliance expects.");
      return;
    }
    if (problem) askForToken(false);
    notice(problem ? `${problem.title}. ${problem.detail}`
      : "The appliance does not answer. What is shown is what it said last.", problem?.next_step);
  }
  timer = setTimeout(tick, active ? POLL_RUNNING_MS : POLL_IDLE_MS, active);
}

byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY, byId("token").value.trim());
  byId("token").value = "";
  tick(false);
});
addEventListener("hashchange", () => { takeToken(); tick(false); });
takeToken();
tick(false);
