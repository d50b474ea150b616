(() => {
  "use strict";
  const SVG = "http://www.w3.org/2000/svg";
  const RISE = 12, STEP = 18;
  const FONT = getComputedStyle(document.documentElement).getPropertyValue("--sans");
  const pen = document.createElement("canvas").getContext("2d");
  const hidden = { concept: new Set(), relation: new Set() };

  const all = (root, selector) => [...root.querySelectorAll(selector)];
  const width = (text, bold) => {
    pen.font = `${bold ? 600 : 400} 11px ${FONT}`;
    return pen.measureText(text).width;
  };
  const short = (text) => {
    const letters = Array.from(text);
    return letters.length > 28 ? letters.slice(0, 27).join("") + "…" : text;
  };
  function draw(parent, name, attributes, content) {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (content !== undefined) element.textContent = content;
    parent.append(element);
    return element;
  }

  class Note {
    constructor(article) {
      this.article = article;
      this.text = article.querySelector(".text");
      this.concepts = new Map();
      for (const row of all(article, "tr[data-k]")) {
        const { k, type, colour, text } = row.dataset;
        this.concepts.set(k, { row, type, colour, text, pieces: [], bars: [] });
      }
      this.pieces = all(this.text, "[data-c]");
      for (const piece of this.pieces) {
        for (const k of piece.dataset.c.split(" ").filter(Boolean)) this.concepts.get(k).pieces.push(piece);
        for (const bar of all(piece, "[data-k]")) this.concepts.get(bar.dataset.k).bars.push(bar);
      }
      this.relations = all(article, "tr[data-r]").map((row) => ({
        row, id: row.dataset.r, head: row.dataset.head, tail: row.dataset.tail, label: row.dataset.label,
      }));
      this.drawn = false;
      this.listen();
    }

    listen() {
      const pick = (event) => this.emphasise(event.target.closest("[data-k], [data-r], [data-c]"));
      this.article.addEventListener("pointerover", pick);
      this.article.addEventListener("focusin", pick);
      this.article.addEventListener("pointerleave", () => this.emphasise(null));
      this.article.addEventListener("focusout", () => this.emphasise(null));
      this.text.addEventListener("click", (event) => {
        const arc = event.target.closest("[data-to]");
        if (arc) this.concepts.get(arc.dataset.to).bars[0].scrollIntoView({ block: "center", behavior: "smooth" });
      });
    }

    // Only what hangs together with the element stays strong; null ends it.
    emphasise(element) {
      for (const marked of all(this.article, ".on")) marked.classList.remove("on");
      for (const over of all(this.text, ".over")) over.remove();
      this.article.classList.toggle("focus", element !== null);
      if (element === null) return;
      const { k, r, c } = element.dataset;
      const concepts = new Set(k !== undefined ? [k] : c !== undefined ? c.split(" ") : []);
      const relations = this.visible().filter((relation) =>
        r !== undefined ? relation.id === r : concepts.has(relation.head) || concepts.has(relation.tail));
      for (const relation of relations) {
        concepts.add(relation.head).add(relation.tail);
        relation.row.classList.add("on");
        for (const arc of all(this.text, `.arc[data-r="${relation.id}"]`)) arc.classList.add("on");
        if (relation.apart) this.bridge(relation);
      }
      for (const id of concepts) {
        const concept = this.concepts.get(id);
        if (concept === undefined) continue;
        for (const part of [concept.row, ...concept.pieces, ...concept.bars]) part.classList.add("on");
      }
    }

    visible() {
      return this.relations.filter((relation) => !hidden.relation.has(relation.label)
        && [relation.head, relation.tail].every((end) => !hidden.concept.has(this.concepts.get(end).type)));
    }

    filter() {
      for (const concept of this.concepts.values()) {
        const off = hidden.concept.has(concept.type);
        for (const part of [concept.row, ...concept.bars]) part.hidden = off;
      }
      for (const piece of this.pieces) {
        const top = piece.dataset.c.split(" ").filter(Boolean).map((k) => this.concepts.get(k))
          .find((concept) => !hidden.concept.has(concept.type));
        piece.className = top ? `p k${top.colour}` : "p";
      }
      const shown = new Set(this.visible());
      for (const relation of this.relations) relation.row.hidden = !shown.has(relation);
      if (this.drawn) this.draw();
    }

    // Where a concept stands: a box for each stretch of it on each line of text.
    boxes(k, lines) {
      const found = [];
      for (const piece of this.concepts.get(k).pieces) {
        const { left, right, top } = piece.getBoundingClientRect();
        const host = piece.closest(".n");
        let line = lines.find((other) => Math.abs(other.top - top) < 8);
        if (line === undefined) lines.push(line = { top, host: null, left: Infinity, items: [] });
        const last = found.at(-1);
        if (last?.line === line && Math.min(Math.abs(left - last.right), Math.abs(last.left - right)) < 2) {
          Object.assign(last, { left: Math.min(last.left, left), right: Math.max(last.right, right) });
        } else if (host !== null) {
          found.push({ line, left, right, ports: [] });
        }
        if (host !== null && left < line.left) Object.assign(line, { left, host });
      }
      return found;
    }

    // One SVG for each line of text, inside a word of that line: it moves with the line when pages break.
    draw() {
      for (const old of all(this.text, "svg")) old.remove();
      for (const word of this.raised ?? []) word.style.removeProperty("--up");
      this.drawn = true;
      const lines = [], boxes = new Map();
      const at = (k) => boxes.get(k) ?? boxes.set(k, this.boxes(k, lines)).get(k);
      const frame = this.text.getBoundingClientRect();
      for (const relation of this.visible()) {
        let best = null;
        for (const head of at(relation.head)) {
          for (const tail of at(relation.tail)) {
            const cost = Math.abs(head.line.top - tail.line.top) * 1e4 + Math.abs(head.left - tail.left);
            if (best === null || cost < best.cost) best = { head, tail, cost };
          }
        }
        if (best === null) continue;
        relation.apart = best.head.line !== best.tail.line;
        if (relation.apart) {
          const down = best.head.line.top < best.tail.line.top;
          this.stub(relation, best.head, `→ ${short(this.concepts.get(relation.tail).text)}`, down, false, frame);
          this.stub(relation, best.tail, `← ${short(this.concepts.get(relation.head).text)}`, !down, true, frame);
        } else {
          this.arc(relation, best.head, best.tail);
        }
      }
      for (const found of boxes.values()) for (const box of found) this.spread(box);
      for (const line of lines) if (line.items.length) this.stack(line, frame);
      this.raised = lines.filter((line) => line.items.length).map((line) => line.host);
      for (const line of lines) if (line.items.length) this.paint(line);
    }

    arc(relation, head, tail) {
      const right = head.left + head.right <= tail.left + tail.right;
      const reach = Math.abs(head.left + head.right - tail.left - tail.right) / 2;
      const from = { side: right ? 1 : -1, reach }, to = { side: right ? -1 : 1, reach };
      head.ports.push(from);
      tail.ports.push(to);
      head.line.items.push({ relation, from, to, label: relation.label, far: "" });
    }

    stub(relation, box, far, right, enters, frame) {
      const reach = 16 + width(relation.label, true) + width(` ${far}`, false);
      const fits = right ? box.right + reach < frame.right : box.left - reach > frame.left;
      const port = { side: right === fits ? 1 : -1, reach };
      box.ports.push(port);
      const goes = enters ? relation.head : relation.tail;
      box.line.items.push({ relation, port, label: relation.label, far: ` ${far}`, enters, goes });
    }

    // Several arrows at one concept stand side by side, in the order that makes fewest crossings.
    spread(box) {
      const order = (port) => (port.side < 0 ? port.reach : 1e6 - port.reach);
      box.ports.sort((a, b) => order(a) - order(b));
      box.ports.forEach((port, i) => {
        port.x = box.left + ((box.right - box.left) * (i + 1)) / (box.ports.length + 1);
      });
    }

    // Heights: short arrows low, each as low as it fits beside the others.
    stack(line, frame) {
      for (const item of line.items) {
        const size = width(item.label, true) + (item.far ? width(item.far, false) : 0);
        const ends = item.port
          ? [item.port.x, item.port.x + item.port.side * (size + 14)]
          : [item.from.x, item.to.x];
        const [low, high] = [Math.min(...ends), Math.max(...ends)];
        item.start = item.port ? (item.port.side > 0 ? low + 10 : low) : (low + high - size) / 2;
        item.start = Math.max(frame.left - 6, Math.min(item.start, frame.right - size));
        // A label that would hide its own arrow stands above it.
        item.above = !item.port && size + 16 > high - low;
        item.size = size;
        item.low = Math.min(low, item.start) - 5;
        item.high = Math.max(high, item.start + size) + 5;
      }
      line.items.sort((a, b) => a.high - a.low - (b.high - b.low));
      const lanes = [];
      for (const item of line.items) {
        item.lane = lanes.findIndex((lane) => lane.every((other) => item.low >= other.high || item.high <= other.low));
        if (item.lane < 0) item.lane = lanes.push([]) - 1;
        lanes[item.lane].push(item);
      }
      line.host.style.setProperty("--up", `${RISE + lanes.length * STEP}px`);
    }

    paint(line) {
      const origin = line.host.getBoundingClientRect().left;
      const svg = draw(line.host, "svg", { "aria-hidden": "true" });
      for (const item of [...line.items].sort((a, b) => b.lane - a.lane)) {
        const { relation } = item;
        const group = draw(svg, "g", { class: "arc", "data-r": relation.id });
        const head = this.concepts.get(relation.head).text, tail = this.concepts.get(relation.tail).text;
        draw(group, "title", {}, `${head} — ${relation.label} → ${tail}`);
        const y = -RISE - item.lane * STEP;
        const text = item.start - origin;
        let path, tip;
        if (item.port) {
          const x = item.port.x - origin, turn = 5 * item.port.side;
          path = `M${x},-1V${y + 5}Q${x},${y} ${x + turn},${y}H${item.port.side > 0 ? text - 2 : text + item.size + 2}`;
          tip = item.enters ? x : null;
          group.setAttribute("data-to", item.goes);
        } else {
          const from = item.from.x - origin, to = item.to.x - origin;
          const turn = Math.min(5, Math.abs(to - from) / 2) * Math.sign(to - from);
          path = `M${from},-1V${y + 5}Q${from},${y} ${from + turn},${y}H${to - turn}Q${to},${y} ${to},${y + 5}V-3`;
          tip = to;
        }
        draw(group, "path", { d: path, class: "halo" });
        draw(group, "path", { d: path });
        if (tip !== null) draw(group, "path", { d: `M${tip - 4},-8L${tip},-1L${tip + 4},-8Z`, class: "tip" });
        const label = draw(group, "text", { x: text, y: item.above ? y - 3 : y + 4 });
        draw(label, "tspan", {}, item.label);
        if (item.far) draw(label, "tspan", { class: "far" }, item.far);
      }
    }

    // Between lines: a line right across the text, only while the relation is looked at.
    bridge(relation) {
      const frame = this.text.getBoundingClientRect();
      const [a, b] = [relation.head, relation.tail].map((k) => {
        const box = this.concepts.get(k).pieces[0].getBoundingClientRect();
        return { x: (box.left + box.right) / 2 - frame.left, y: (box.top + box.bottom) / 2 - frame.top };
      });
      const over = draw(this.text, "svg", { class: "over", "aria-hidden": "true" });
      const middle = (a.y + b.y) / 2;
      draw(over, "path", { d: `M${a.x},${a.y}C${a.x},${middle} ${b.x},${middle} ${b.x},${b.y}` });
    }
  }

  const notes = new Map(all(document, ".note").map((article) => [article, new Note(article)]));

  for (const button of all(document, "button[data-concept], button[data-relation]")) {
    button.addEventListener("click", () => {
      const [set, name] = button.dataset.concept !== undefined
        ? [hidden.concept, button.dataset.concept] : [hidden.relation, button.dataset.relation];
      const off = !set.delete(name);
      if (off) set.add(name);
      button.setAttribute("aria-pressed", String(!off));
      for (const note of notes.values()) note.filter();
    });
  }

  // Notes are drawn when they come near the window, and again when their width changes.
  const near = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const note = notes.get(entry.target);
      if (entry.isIntersecting && !note.drawn) note.draw();
    }
  }, { rootMargin: "1200px" });
  const widths = new Map();
  const resized = new ResizeObserver((entries) => {
    for (const { target, contentRect } of entries) {
      const note = notes.get(target);
      if (note.drawn && widths.get(target) !== contentRect.width) note.draw();
      widths.set(target, contentRect.width);
    }
  });
  for (const [article, note] of notes) {
    if (article.getBoundingClientRect().top < window.innerHeight) note.draw();
    near.observe(article);
    resized.observe(article);
  }
  const redraw = (printing) => {
    document.body.classList.toggle("print", printing);
    for (const note of notes.values()) if (printing || note.drawn) note.draw();
  };
  window.addEventListener("beforeprint", () => redraw(true));
  window.addEventListener("afterprint", () => redraw(false));
})();
