// A pen that records SVG: as much of a 2D canvas context as the circuit graph uses. Text is escaped here and only here.
window.wbCircuitGraph = window.wbCircuitGraph || {};
(function (graph) {
  "use strict";
  const ESCAPES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&apos;" };
  const NO_XML = /[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu;
  const escape = (text) => String(text).replace(NO_XML, "\ufffd").replace(/[&<>"']/g, (sign) => ESCAPES[sign]);
  const round = (value) => String(Math.round(value * 100) / 100);
  const ANCHORS = { left: "start", center: "middle", right: "end" };

  class Recorder {
    constructor() {
      this.out = [];
      this.globalAlpha = 1;
      this.fillStyle = this.strokeStyle = "";
      this.lineWidth = 1;
      this.font = "";
      this.textAlign = "left";
      this.dash = [];
      this.path = [];
    }
    setLineDash(dash) { this.dash = dash; }
    beginPath() { this.path = []; }
    add(letter, ...values) { this.path.push(letter + values.map(round).join(" ")); }
    moveTo(x, y) { this.add("M", x, y); }
    lineTo(x, y) { this.add("L", x, y); }
    closePath() { this.path.push("Z"); }
    // Whole circles only.
    arc(x, y, r) {
      this.add("M", x - r, y);
      this.add("A", r, r, 0, 1, 1, x + r, y);
      this.add("A", r, r, 0, 1, 1, x - r, y);
      this.closePath();
    }
    rect(x, y, wide, high) {
      this.add("M", x, y);
      this.path.push(`h${round(wide)}v${round(high)}h${round(-wide)}`);
      this.closePath();
    }
    roundRect(x, y, wide, high, radius) {
      const r = Math.max(0, Math.min(radius, wide / 2, high / 2));
      this.add("M", x + r, y);
      for (const [lineX, lineY, toX, toY] of [
        [x + wide - r, y, x + wide, y + r], [x + wide, y + high - r, x + wide - r, y + high],
        [x + r, y + high, x, y + high - r], [x, y + r, x + r, y],
      ]) {
        this.add("L", lineX, lineY);
        this.add("A", r, r, 0, 0, 1, toX, toY);
      }
      this.closePath();
    }
    stroke() {
      if (!this.path.length) return;
      const dash = this.dash.length ? ` stroke-dasharray="${this.dash.join(" ")}"` : "";
      this.out.push(`<path d="${this.path.join("")}" fill="none" stroke="${escape(this.strokeStyle)}" stroke-width="${round(this.lineWidth)}"${dash} opacity="${round(this.globalAlpha)}"/>`);
    }
    fill() {
      if (this.path.length) this.out.push(`<path d="${this.path.join("")}" fill="${escape(this.fillStyle)}" opacity="${round(this.globalAlpha)}"/>`);
    }
    fillText(text, x, y) { this.words(text, x, y, `fill="${escape(this.fillStyle)}"`); }
    strokeText(text, x, y) {
      this.words(text, x, y, `fill="none" stroke="${escape(this.strokeStyle)}" stroke-width="${round(this.lineWidth)}"`);
    }
    words(text, x, y, look) {
      const anchor = ANCHORS[this.textAlign] || "start";
      this.out.push(`<text x="${round(x)}" y="${round(y)}" style="font:${escape(this.font)}" text-anchor="${anchor}" dominant-baseline="central" ${look} opacity="${round(this.globalAlpha)}">${escape(text)}</text>`);
    }
  }

  // What `draw(pen)` draws, `wide` × `high` pixels on `ground`, with a title for those who cannot see it.
  graph.recorded = function (wide, high, ground, title, draw) {
    const pen = new Recorder();
    draw(pen);
    const size = `width="${round(wide)}" height="${round(high)}" viewBox="0 0 ${round(wide)} ${round(high)}"`;
    return `<svg xmlns="http://www.w3.org/2000/svg" ${size} role="img"><title>${escape(title)}</title>` +
      `<rect width="100%" height="100%" fill="${escape(ground)}"/>${pen.out.join("")}</svg>`;
  };
})(window.wbCircuitGraph);
