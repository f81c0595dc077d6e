// The panel of one coin: where it is, how firmly, with whom it moves, what happened to it.
import { brief } from "./layout.js";
import { el, percent, shoalTitle, signed, whole } from "./words.js";

export class CoinPanel {
  constructor(root, palette, events, get) {
    Object.assign(this, { root, palette, events, get, coin: null, back: null });
    addEventListener("keydown", (e) => { if (e.key === "Escape" && this.coin) this.close(); });
  }

  async open(coin) {
    if (!this.coin) this.back = document.activeElement?.dataset?.coin ?? null;
    this.coin = coin;
    await this.refresh();
    this.root.querySelector("button.icon")?.focus({ preventScroll: true });
  }

  close() {
    this.coin = null;
    this.root.hidden = true;
    if (this.back) document.querySelector(`[data-coin="${CSS.escape(this.back)}"]`)?.focus({ preventScroll: true });
  }

  async refresh() {
    if (!this.coin) return;
    const asked = this.coin;
    const data = await this.get(`coins/${asked.split("/").map(encodeURIComponent).join("/")}`).catch(() => null);
    if (this.coin !== asked) return;
    const body = data ? [...data.views.map((v) => this.place(v)), this.near(data), this.past(data)] : [el("p", {}, "nothing is known of this coin yet")];
    const close = el("button", { class: "icon", type: "button", "aria-label": "Close", onclick: () => this.close() }, "✕");
    const focused = this.root.contains(document.activeElement);
    this.root.replaceChildren(el("header", {}, el("h2", { id: "coin-title", title: asked }, brief(asked)), close), ...body);
    this.root.hidden = false;
    if (focused) close.focus({ preventScroll: true });
  }

  place(v) {
    const pair = (title, ...value) => el("div", { class: "pair" }, el("span", {}, title), ...value);
    const chip = (n, name) => (n === null ? el("b", {}, "none") : el("span", { class: `chip ${this.palette.of(n)}` }, shoalTitle(brief(name), n)));
    const gauge = el("div", { class: "gauge", role: "img", "aria-label": `margin ${signed(v.margin)}` }, v.margin === null ? null : el("i"));
    if (v.margin !== null) gauge.firstChild.style.left = `${50 + 50 * Math.max(-1, Math.min(1, v.margin))}%`;
    return el("section", { class: "where" },
      pair(`${v.window}, ${v.view}`, v.is_exemplar ? el("b", {}, "exemplar") : ""),
      pair("moves with", chip(v.shoal, v.shoal_name)), pair("home", chip(v.home, v.home_name)),
      pair("margin: home against the best other", el("b", {}, signed(v.margin))), gauge,
      pair("coverage", el("b", {}, percent(v.coverage, 1))), pair("departures", el("b", {}, whole(v.departures))));
  }

  near(data) {
    const list = Object.values(data.neighbours)[0] ?? [];
    const most = Math.max(0.05, ...list.map((n) => Math.abs(n.partial_correlation ?? 0)));
    const rows = list.slice(0, 8).map((n) => {
      const meter = el("span", { class: "meter" }, el("i"));
      meter.firstChild.style.width = `${(100 * Math.abs(n.partial_correlation ?? 0)) / most}%`;
      return el("li", { class: n.partial_correlation < 0 ? "against" : null }, el("button", { type: "button", onclick: () => this.open(n.coin_id) }, brief(n.coin_id)), meter, el("span", {}, signed(n.partial_correlation)));
    });
    return el("section", {}, el("h3", {}, "Joined to, by partial correlation"), rows.length ? el("ul", { class: "near-list" }, ...rows) : el("p", {}, "no edge of the network touches it"));
  }

  past(data) {
    const rows = data.events.slice(0, 20).map((e) => this.events.row(e, true));
    return el("section", {}, el("h3", {}, "What happened to it"), rows.length ? el("ol", {}, ...rows) : el("p", {}, "it has stayed where it was"));
  }
}
