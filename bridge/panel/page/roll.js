// The rolling piano roll: what was heard, what was played, what is planned; bar lines, the now-line, chords.

import { colours, h, partColour, sharp, write } from './dom.js';

const HEARD = 'heard';
const LANES = [['K', [35, 36]], ['S', [37, 38, 39, 40]], ['H', [42, 44, 46]], ['T', [41, 43, 45, 47, 48, 50]], ['C', []]];
export const nameOf = (note) => `${NAMES[note % 12]}${Math.floor(note / 12) - 1}`;
const NAMES = ['C', 'C♯', 'D', 'E♭', 'E', 'F', 'F♯', 'G', 'A♭', 'A', 'B♭', 'B'];
const CHORDS = 48, GUTTER = 34; // px: the lane of chords, the names of notes
const BY_RULE = 1;

export const laneOf = (note) => {
  const lane = LANES.findIndex(([, notes]) => notes.includes(note));
  return lane < 0 ? LANES.length - 1 : lane;
};

/** Draw one note: solid where it sounded, an outline with a veil where it is planned. */
export function drawNote(context, x, y, width, height, colour, planned, byRule) {
  const w = Math.max(width - 1, 3), tall = Math.max(height - 1, 3);
  context.fillStyle = colour;
  context.globalAlpha = planned ? 0.28 : 1;
  context.fillRect(x, y, w, tall);
  context.globalAlpha = 1;
  if (planned) {
    context.strokeStyle = colour;
    context.lineWidth = 1.5;
    context.strokeRect(x + 0.75, y + 0.75, w - 1.5, tall - 1.5);
  }
  if (byRule) { // stands in for what the model had not sent
    context.fillStyle = colours.ground;
    context.fillRect(x + 1, y + tall / 2 - 1, Math.min(w - 2, 6), 2);
  }
}

class PianoRoll extends HTMLElement {
  connectedCallback() {
    this.canvas = h('canvas', { role: 'img', 'aria-label': 'Piano roll' });
    this.legend = h('ul', { class: 'legend', 'aria-label': 'Who is which colour' });
    this.append(this.canvas, this.legend);
    this.button = h('button', { type: 'button', title: 'Rings: which notes the last note of an answer would have been another without',
      onclick: () => this.store.send({ set: 'engine.leaning', value: !this.store.values['engine.leaning'] }) }, 'Leans on');
    this.low = 48;
    this.high = 76;
    this.frames = 0;
    const { store } = this;
    store.addEventListener('scene', () => (this.dirty = true));
    store.addEventListener('state', () => this.name());
    new ResizeObserver(() => (this.dirty = true)).observe(this.canvas);
    this.describing = setInterval(() => this.describe(), 4000);
    this.name();
    const turn = () => {
      if (!this.isConnected) return;
      if (this.dirty || store.scene.rolling) this.draw();
      requestAnimationFrame(turn);
    };
    requestAnimationFrame(turn);
  }

  disconnectedCallback() {
    clearInterval(this.describing);
  }

  name() {
    this.button.setAttribute('aria-pressed', String(Boolean(this.store.values['engine.leaning'])));
    const parts = this.store.parts;
    if (this.named === parts.join()) return;
    this.named = parts.join();
    const entry = (colour, text) => {
      const box = h('span', { class: 'box', 'aria-hidden': 'true' });
      box.style.background = colour;
      return h('li', {}, box, text);
    };
    this.legend.replaceChildren(
      entry(colours.heard, 'you'), ...parts.map((part, i) => entry(partColour(i), part)),
      h('li', { class: 'hint' }, 'solid: played · outline: planned'), h('li', {}, this.button),
    );
    this.dirty = true;
  }

  describe() {
    const { scene, heard, played, parts } = this.store;
    const from = this.store.beat() - scene.bar;
    const count = (notes) => notes.filter((note) => note[0] >= from).length;
    const [first] = this.leans().sort((a, b) => b[3] - a[3]);
    const leans = first ? ` The answer leans most on ${first[2] ? 'a stroke' : nameOf(first[1])} in bar ${Math.floor(first[0] / scene.bar) + 1}.` : '';
    const text = `Piano roll of ${['you', ...parts].join(', ')}. Last bar: ${count(heard)} notes heard, `
      + `${count(played)} played; ${scene.planned.length} planned.${leans}`;
    if (this.canvas.getAttribute('aria-label') !== text) this.canvas.setAttribute('aria-label', text);
  }

  draw() {
    this.dirty = false;
    this.frames += 1;
    const { store } = this;
    const { context: c, width, height } = sharp(this.canvas);
    if (!width) return;
    const now = store.beat(), bar = store.scene.bar;
    const behind = (width > 700 ? 3 : 1.5) * bar, ahead = (width > 700 ? 2 : 1) * bar;
    const from = now - behind, to = now + ahead;
    const x = (beat) => GUTTER + ((beat - from) / (to - from)) * (width - GUTTER);
    const isDrum = (part) => store.parts[part] === 'drums';
    const inside = (note) => note[0] < to && note[0] + note[1] > from;
    const layers = [
      [store.heard, HEARD, false], [store.scene.held, HEARD, false], [store.played, null, false],
      [store.scene.planned, null, true],
    ].map(([notes, who, planned]) => [notes.filter(inside), who, planned]);
    const drums = height > 200 ? Math.max(height * 0.24, 90) : height * 0.25;
    const tones = height - drums - CHORDS;
    this.fit(layers, isDrum);
    const step = tones / (this.high - this.low + 1), tall = Math.max(step, 8), lane = (drums - 8) / LANES.length;
    c.fillStyle = colours.ground;
    c.fillRect(0, 0, width, height);
    this.lines(c, x, width, height, { from, to, bar, tones, step, drums, lane });
    c.save();
    c.beginPath();
    c.rect(GUTTER, 0, width - GUTTER, height);
    c.clip();
    for (const [notes, who, planned] of layers) {
      for (const [beat, duration, note, velocity, part, flags] of notes) {
        const mine = who === HEARD, drum = mine ? part === 1 : isDrum(part);
        const colour = mine ? colours.heard : partColour(part);
        const left = x(beat), wide = x(beat + duration) - left;
        if (drum) {
          const y = height - drums + 6 + laneOf(note) * lane;
          const size = Math.min(lane - 3, 8 + (velocity / 127) * 10);
          drawNote(c, left, y + (lane - size) / 2, size, size, colour, planned, flags & BY_RULE);
        } else {
          drawNote(c, left, CHORDS + (this.high - note + 0.5) * step - tall / 2, wide, tall, colour, planned, flags & BY_RULE);
        }
      }
    }
    this.leaning(c, x, (note, drum) => (drum ? height - drums + 6 + (laneOf(note) + 0.5) * lane : CHORDS + (this.high - note + 0.5) * step));
    c.fillStyle = colours.now;
    c.fillRect(x(now) - 1.5, 0, 3, height);
    this.chords(c, x, now, to);
    c.restore();
  }

  /** Rings around the notes that the last note of the answer leaned on, the larger the more. */
  leaning(c, x, y) {
    const most = Math.max(...this.leans().map(([, , , share]) => share));
    c.strokeStyle = colours.text;
    for (const [beat, note, drum, share] of this.leans()) {
      c.lineWidth = 1 + 3 * (share / most);
      c.beginPath();
      c.arc(x(beat) + 5, y(note, drum), 7 + 10 * Math.sqrt(share / most), 0, 2 * Math.PI);
      c.stroke();
    }
  }

  /** What is worth showing of it: a tenth of the largest at least. */
  leans() {
    const leans = this.store.values['engine.leaning'] ? this.store.state.leans ?? [] : [];
    const most = Math.max(...leans.map(([, , , share]) => share));
    return leans.filter(([, , , share]) => share > 0 && share >= most / 10);
  }

  /** Keep the pitches that are to be seen in sight; the range grows at once and shrinks slowly. */
  fit(layers, isDrum) {
    let low = 127, high = 0;
    for (const [notes, who] of layers) {
      for (const [, , note, , part] of notes) {
        if (who === HEARD ? part === 1 : isDrum(part)) continue;
        low = Math.min(low, note);
        high = Math.max(high, note);
      }
    }
    if (low > high) return;
    const wanted = [Math.max(low - 2, 0), Math.min(Math.max(high + 2, low + 24), 127)];
    this.low = wanted[0] < this.low ? wanted[0] : this.low + (wanted[0] - this.low) * 0.01;
    this.high = wanted[1] > this.high ? wanted[1] : this.high + (wanted[1] - this.high) * 0.01;
  }

  lines(c, x, width, height, { from, to, bar, tones, step, drums, lane }) {
    c.font = `600 13px ${colours.font}`;
    c.textBaseline = 'middle';
    for (let note = Math.ceil(this.low); note <= this.high; note += 1) {
      const y = CHORDS + (this.high - note) * step;
      if ([1, 3, 6, 8, 10].includes(note % 12)) {
        c.fillStyle = colours.black;
        c.fillRect(0, y, width, step);
      }
      if (note % 12 === 0) {
        c.fillStyle = colours.line;
        c.fillRect(0, y + step, width, 1);
      }
    }
    c.fillStyle = colours.quiet;
    for (let note = Math.ceil(this.low / 12) * 12; note <= this.high; note += 12) {
      c.fillText(nameOf(note), 6, CHORDS + (this.high - note + 0.5) * step);
    }
    c.fillStyle = colours.line;
    c.fillRect(0, CHORDS + tones, width, 2);
    LANES.forEach(([name], i) => {
      c.fillStyle = colours.quiet;
      c.fillText(name, 6, height - drums + 6 + (i + 0.5) * lane);
    });
    for (let beat = Math.ceil(from); beat < to; beat += 1) {
      const strong = Math.abs(beat / bar - Math.round(beat / bar)) < 1e-6;
      c.fillStyle = strong ? colours.barline : colours.line;
      c.fillRect(x(beat), strong ? 0 : CHORDS, strong ? 2 : 1, height);
      if (x(beat) < GUTTER) continue;
      if (strong && beat >= 0) {
        c.fillStyle = colours.quiet;
        c.fillText(String(Math.round(beat / bar) + 1), x(beat) + 6, height - 9);
      }
    }
  }

  chords(c, x, now, to) {
    c.textBaseline = 'middle';
    let before = '';
    for (const [beat, name, source] of this.store.scene.chords) {
      if (beat > to || name + (source === 'heard') === before) continue;
      before = name + (source === 'heard');
      const heard = source === 'heard';
      c.font = `${heard ? 700 : 500} 26px ${colours.font}`;
      c.lineWidth = 5;
      c.strokeStyle = colours.ground;
      c.strokeText(source === 'guess' ? `${name}?` : name, x(beat) + 6, CHORDS / 2);
      c.fillStyle = heard ? colours.heard : source === 'guess' ? colours.quiet : colours.text;
      c.fillText(source === 'guess' ? `${name}?` : name, x(beat) + 6, CHORDS / 2);
    }
  }
}
customElements.define('piano-roll', PianoRoll);

/** The chord that sounds, and the next one, large. */
class ChordNow extends HTMLElement {
  connectedCallback() {
    this.now = h('strong', {}, '–');
    this.next = h('span', { class: 'next' });
    this.why = h('span', { class: 'why' });
    this.append(h('span', { class: 'name' }, 'chord'), this.now, this.next, this.why);
    this.store.addEventListener('scene', () => this.show());
  }

  show() {
    const beat = this.store.beat() + 0.05;
    const chords = this.store.scene.chords;
    const at = chords.findLastIndex(([start]) => start <= beat);
    const next = chords.slice(at + 1).find(([, name]) => at < 0 || name !== chords[at][1]);
    const why = { heard: '', chart: 'chart', loop: 'your loop', last: 'goes on', guess: 'a guess' };
    write(this.now, at < 0 ? '–' : chords[at][1]);
    write(this.next, next ? `→ ${next[1]}` : '');
    write(this.why, next ? why[next[2]] ?? '' : '');
  }
}
customElements.define('chord-now', ChordNow);
