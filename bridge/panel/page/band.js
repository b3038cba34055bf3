// The parts of the band page beside the roll: transport, deadlines, takes, commands, chart, presets, lines.

import { colours, h, partColour, sharp, write } from './dom.js';
import { drawNote, laneOf } from './roll.js';

/** Where we are, how fast, who leads. */
class BandTransport extends HTMLElement {
  connectedCallback() {
    this.place = h('strong', { class: 'place' }, '–');
    this.lamp = h('span', { class: 'lamp', 'aria-hidden': 'true' });
    this.tempo = h('span', { class: 'tempo' });
    this.leader = h('span', { class: 'leader' });
    this.doing = h('span', { class: 'doing', role: 'status' });
    this.append(this.lamp, this.place, h('span', { class: 'about' }, this.tempo, this.leader), this.doing);
    const turn = () => {
      if (!this.isConnected) return;
      this.show();
      requestAnimationFrame(turn);
    };
    requestAnimationFrame(turn);
    this.store.addEventListener('state', () => this.tell());
    this.tell(); // what a session tells that stands still is told once
  }

  show() {
    const { scene } = this.store;
    const beat = this.store.beat(), bar = Math.floor(beat / scene.bar + 1e-6);
    const quarter = Math.floor(beat - bar * scene.bar + 1e-6);
    write(this.place, `${Math.max(bar + 1, 1)}.${Math.max(quarter + 1, 1)}`);
    const on = scene.rolling && beat - Math.floor(beat) < 0.25;
    this.lamp.className = `lamp ${scene.rolling ? 'rolls' : ''} ${on ? (quarter === 0 ? 'one' : 'beat') : ''}`;
    write(this.tempo, `${scene.tempo.toFixed(scene.tempo % 1 ? 1 : 0)} BPM`);
  }

  tell() {
    const { state } = this.store;
    write(this.leader, state.rolling ? state.leader ?? '' : `stopped · ${state.leader ?? ''}`);
    write(this.doing, state.mode ? `${state.mode.replace('_', ' ')}: ${state.state}` : '');
  }
}
customElements.define('band-transport', BandTransport);

/** The last deadlines: how early the music for each was there; misses in red, the whole height. */
class DeadlineStrip extends HTMLElement {
  connectedCallback() {
    this.canvas = h('canvas', { 'aria-hidden': 'true' });
    this.text = h('p');
    this.append(this.canvas, this.text);
    const show = () => this.show();
    for (const what of ['margins', 'state']) this.store.addEventListener(what, show);
    new ResizeObserver(show).observe(this.canvas);
  }

  show() {
    const { state, margins } = this.store;
    const { context: c, width, height } = sharp(this.canvas);
    const step = width / 64;
    c.fillStyle = colours.ground;
    c.fillRect(0, 0, width, height);
    margins.forEach(([, early], i) => {
      const x = width - (margins.length - i) * step;
      const missed = early === null;
      // To the root: of a few milliseconds more is to be seen than of seconds.
      const share = missed ? 1 : Math.min(Math.sqrt(Math.max(early, 0) / 4), 1) * 0.9 + 0.1;
      c.fillStyle = missed ? colours.danger : colours.good;
      c.fillRect(x, height * (1 - share), Math.max(step - 2, 2), height * share);
    });
    const units = state.units ?? 0, missed = state.missed ?? 0;
    const ahead = state.ready_ms == null ? '' : `ready ${Math.round(state.ready_ms)} ms ahead · `;
    const asked = state.handover_ms == null ? '' : ` · answer after ${state.handover_ms.toFixed(1)} ms`;
    const late = state.late ? ` · ${state.late} notes late` : '';
    const ready = state.engine === 'ready' ? '' : ' · the model is starting';
    write(this.text, `${ahead}missed ${missed} of ${units}${asked}${late}${ready}`);
    this.classList.toggle('missed', missed > 0);
  }
}
customElements.define('deadline-strip', DeadlineStrip);

const BUTTONS = [
  ['play', 'Answer', 'space'], ['hush', 'Hush', 'h'], ['next_take', 'Next take', 'n'], ['again', 'Again', 'r'],
  ['keep', 'Keep', 'k'], ['undo', 'Undo', 'u'], ['tap', 'Tap', 't'], ['start', 'Start', 's'], ['stop', 'Stop', 'x'],
];
const KEYS = { ' ': 'play', h: 'hush', n: 'next_take', r: 'again', k: 'keep', u: 'undo', t: 'tap', s: 'start', x: 'stop', p: 'panic' };

/** The commands as buttons, and as the keys that the terminal has. */
class BandCommands extends HTMLElement {
  connectedCallback() {
    const { store } = this;
    this.setAttribute('role', 'group');
    this.setAttribute('aria-label', 'Commands');
    for (const [command, text, key] of BUTTONS) {
      const button = h('button', { type: 'button', title: store.facts.commands?.[command], 'data-command': command,
        onclick: () => store.send({ command }) }, text, h('kbd', { 'aria-hidden': 'true' }, key));
      this.append(button);
    }
    document.addEventListener('keydown', (event) => {
      const at = event.target;
      if (event.ctrlKey || event.altKey || event.metaKey || event.repeat || !(event.key in KEYS)) return;
      if (at.matches?.('input, select, textarea') && at.type !== 'range') return;
      if (event.key === ' ' && at.matches?.('button, summary, input, a')) return;
      event.preventDefault();
      store.send({ command: KEYS[event.key] });
    });
  }
}
customElements.define('band-commands', BandCommands);

/** The takes of the last answer side by side. */
class TakeList extends HTMLElement {
  connectedCallback() {
    this.list = h('ul', { class: 'takes' });
    this.append(h('h2', {}, 'Takes'), this.list);
    this.cards = [];
    this.store.addEventListener('takes', () => this.show());
    this.show();
  }

  show() {
    const takes = [...this.store.takes.values()].sort((a, b) => a.number - b.number);
    if (!takes.length) {
      this.cards = [];
      this.list.replaceChildren(h('li', { class: 'hint' }, 'No answer yet. With more than one take (below), choose here.'));
      return;
    }
    if (takes.length !== this.cards.length) {
      this.cards = takes.map((take) => {
        const canvas = h('canvas', { 'aria-hidden': 'true' });
        const file = midiFile(this.store);
        const button = h('button', { type: 'button', onclick: () => this.store.send({ take: take.number + 1 }) },
          canvas, h('span', {}, `Take ${take.number + 1}`));
        return { canvas, button, file };
      });
      this.list.replaceChildren(...this.cards.map(({ button, file }) => h('li', {}, button, file)));
    }
    takes.forEach((take, i) => {
      const { canvas, button, file } = this.cards[i];
      file.point(take);
      button.setAttribute('aria-pressed', String(take.chosen === take.number));
      button.setAttribute('aria-label', `Take ${take.number + 1}, ${take.notes.length} notes: hear it`);
      drawTake(canvas, take);
    });
  }
}
customElements.define('take-list', TakeList);

/** A small roll. */
function drawTake(canvas, take) {
  const { context: c, width, height } = sharp(canvas);
  c.fillStyle = colours.ground;
  c.fillRect(0, 0, width, height);
  const length = Math.max(take.end - take.start, 1);
  const drum = (note) => take.parts[note[4]] === 'drums';
  const tones = take.notes.filter((note) => !drum(note)).map((note) => note[2]);
  const low = Math.min(...tones, 60) - 1, high = Math.max(...tones, 67) + 1;
  for (const note of take.notes) {
    const x = ((note[0] - take.start) / length) * width, wide = (note[1] / length) * width;
    if (drum(note)) drawNote(c, x, height * 0.76 + laneOf(note[2]) * height * 0.048, 3, 3, partColour(note[4]), false, false);
    else drawNote(c, x, ((high - note[2]) / (high - low)) * height * 0.72, wide, 4, partColour(note[4]), false, false);
  }
}

/** A link to a take as a MIDI file, which can be dragged onto a track. `link.point(take)` says which. */
function midiFile(store) {
  const link = h('a', { class: 'midi', draggable: 'true', download: '', title: 'Save it, or drag it onto a track' }, 'MIDI');
  link.point = ({ answer, number }) => {
    link.href = store.midi({ answer, number });
    link.name = `genaudio-${answer}-take${number + 1}.mid`;
    link.setAttribute('aria-label', `MIDI file of take ${number + 1} of answer ${answer}`);
  };
  link.addEventListener('dragstart', (event) => event.dataTransfer.setData('DownloadURL', `audio/midi:${link.name}:${link.href}`));
  return link;
}

/** The answers before: what was played, to look at and to take along. */
class AnswerList extends HTMLElement {
  connectedCallback() {
    this.list = h('ol', { class: 'answers', reversed: true, tabindex: '0', 'aria-label': 'The last answers' });
    this.append(h('details', {}, h('summary', {}, 'The last fifty answers'), this.list));
    this.rows = new Map();
    this.store.addEventListener('takes', () => this.show());
    this.querySelector('details').addEventListener('toggle', () => this.show());
    this.show();
  }

  show() {
    if (!this.querySelector('details').open) return;
    const { answers } = this.store;
    for (const [answer, row] of this.rows) {
      if (!answers.has(answer)) {
        row.item.remove();
        this.rows.delete(answer);
      }
    }
    for (const [answer, takes] of answers) {
      const one = [...takes.values()], take = takes.get(one[0].chosen) ?? one[0];
      let row = this.rows.get(answer);
      if (!row) {
        row = { canvas: h('canvas', { 'aria-hidden': 'true' }), text: h('span'), file: midiFile(this.store), notes: -1 };
        row.item = h('li', {}, row.canvas, row.text, row.file);
        this.list.prepend(row.item);
        this.rows.set(answer, row);
      }
      if (row.notes === take.notes.length && row.chosen === take.number) continue;
      Object.assign(row, { notes: take.notes.length, chosen: take.number });
      row.file.point(take);
      write(row.text, `bar ${Math.floor(take.start / take.bar) + 1}, ${take.notes.length} notes`);
      drawTake(row.canvas, take);
    }
  }
}
customElements.define('answer-list', AnswerList);

/** For each part mute, solo, compose again, density, and the range of its notes. */
class PartBoard extends HTMLElement {
  connectedCallback() {
    this.setAttribute('role', 'group');
    this.setAttribute('aria-label', 'Parts');
    this.bar = h('select', { id: 'again-bar' });
    this.choice = h('p', { class: 'again' }, h('label', { for: 'again-bar' }, 'Again: '), this.bar, this.again('all'));
    this.store.addEventListener('state', () => this.show());
    this.store.addEventListener('scene', () => this.offer());
    this.show();
  }

  /** A button that has a part, or all, composed again in the bar that is chosen. */
  again(name) {
    return h('button', { type: 'button', 'aria-label': `compose ${name.replaceAll('_', ' ')} again`,
      onclick: () => this.store.send({ again: name, ...(this.bar.value ? { bar: Number(this.bar.value) } : {}) }) }, 'Again');
  }

  /** Offer the bars that are planned; the one that is chosen stays until it is over. */
  offer() {
    const { scene } = this.store;
    const bars = [...new Set(scene.planned.map(([beat]) => Math.floor(beat / scene.bar + 1e-3) + 1))].sort((a, b) => a - b);
    if (bars.join() === this.offered) return;
    this.offered = bars.join();
    const chosen = this.bar.value;
    this.bar.replaceChildren(h('option', { value: '' }, 'all to come'), ...bars.map((bar) => h('option', { value: String(bar) }, `bar ${bar}`)));
    if (bars.includes(Number(chosen))) this.bar.value = chosen;
  }

  show() {
    const { store } = this;
    const { switches = {}, part_knobs: knobs = {} } = store.state;
    const names = Object.keys(switches).filter((name) => name.startsWith('mute.')).map((name) => name.slice(5));
    if (names.join() !== this.named && names.every((name) => `density.${name}` in knobs)) {
      this.named = names.join();
      this.buttons = [];
      this.replaceChildren(this.choice, ...names.map((name, i) => {
        const box = h('span', { class: 'box', 'aria-hidden': 'true' });
        box.style.background = partColour(i);
        const button = (knob, text) => {
          const full = `${knob}.${name}`;
          const made = h('button', { type: 'button', class: knob, 'aria-label': `${knob} ${name.replaceAll('_', ' ')}`,
            onclick: () => store.send({ set: full, value: !store.state.switches[full] }) }, text);
          this.buttons.push([full, made]);
          return made;
        };
        const turned = ['density', 'low', 'high'].filter((knob) => `${knob}.${name}` in knobs).map((knob) =>
          Object.assign(document.createElement('setting-knob'), { name: `${knob}.${name}`, fact: knobs[`${knob}.${name}`], store }));
        return h('div', { class: 'part' }, box, h('span', { class: 'name' }, name.replaceAll('_', ' ')), button('mute', 'Mute'), button('solo', 'Solo'), this.again(name),
          h('details', {}, h('summary', { 'aria-label': `density and range of ${name.replaceAll('_', ' ')}` }, 'Density, range'), h('div', { class: 'knobs' }, ...turned)));
      }));
    }
    for (const [full, button] of this.buttons ?? []) button.setAttribute('aria-pressed', String(Boolean(switches[full])));
  }
}
customElements.define('part-board', PartBoard);

/** The chords to play over, typed. */
class ChordChart extends HTMLElement {
  connectedCallback() {
    const { store } = this;
    this.input = h('input', { id: 'chart', type: 'text', maxlength: '1000', spellcheck: 'false', autocomplete: 'off',
      placeholder: 'C Am F G    or    C | Am D7 | G', 'aria-describedby': 'chart-help' });
    const form = h('form', { onsubmit: (event) => {
      event.preventDefault();
      store.send({ set: 'music.chords', value: this.input.value.trim() });
    } }, h('label', { for: 'chart' }, 'Chord chart'), this.input, h('button', { type: 'submit' }, 'Play over these'),
    h('button', { type: 'button', onclick: () => store.send({ set: 'music.chords', value: '' }) }, 'Follow me'));
    this.append(form, h('p', { id: 'chart-help', class: 'hint' },
      'Round and round, a bar each; | makes bars of several. Without a chart the band follows what you play.'));
    store.addEventListener('state', () => {
      const value = store.values['music.chords'] ?? '';
      if (value !== this.known && document.activeElement !== this.input) this.input.value = value;
      this.known = value;
    });
  }
}
customElements.define('chord-chart', ChordChart);

/** The presets: what they are, to change over while it plays, and one more from the settings as they stand. */
class PresetList extends HTMLElement {
  connectedCallback() {
    const { store } = this;
    this.select = h('select', { id: 'preset', 'aria-describedby': 'preset-is', onchange: () => this.tell() });
    this.about = h('p', { id: 'preset-is', class: 'hint' });
    const name = h('input', { id: 'save-as', type: 'text', maxlength: '60', spellcheck: 'false', autocomplete: 'off', placeholder: 'a new name' });
    this.append(h('form', { onsubmit: (event) => {
      event.preventDefault();
      store.send({ preset: this.select.value });
    } }, h('label', { for: 'preset' }, 'Preset'), this.select, h('button', { type: 'submit' }, 'Play it')), this.about,
    h('form', { onsubmit: (event) => {
      event.preventDefault();
      if (name.value.trim()) store.send({ save: name.value.trim() });
    } }, h('label', { for: 'save-as' }, 'Save as it stands now'), name, h('button', { type: 'submit' }, 'Save')));
    store.addEventListener('state', () => this.show());
    this.show();
  }

  show() {
    const { presets = {}, preset } = this.store.state;
    if (presets !== this.presets) {
      this.presets = presets;
      const chosen = this.select.value;
      const group = (label, own) => {
        const names = Object.keys(presets).filter((name) => presets[name].own === own);
        return names.length ? [h('optgroup', { label }, ...names.map((name) => h('option', { value: name }, presets[name].title)))] : [];
      };
      this.select.replaceChildren(...group('Bundled', false), ...group('Yours', true));
      if (chosen in presets) this.select.value = chosen;
      this.known = undefined;
    }
    if (preset !== this.known && preset in presets) {
      this.known = preset;
      this.select.value = preset;
    }
    this.tell();
  }

  tell() {
    const { text = '', mode, parts = [] } = this.presets[this.select.value] ?? {};
    write(this.about, mode ? `${text} (${mode.replace('_', ' ')}: ${parts.join(', ')})`.trim() : text);
  }
}
customElements.define('preset-list', PresetList);

/** What genaudio says. */
class PersonLines extends HTMLElement {
  connectedCallback() {
    this.list = h('ol', { role: 'log', 'aria-label': 'Messages', 'aria-live': 'polite', tabindex: '0' });
    this.append(h('h2', {}, 'Messages'), this.list);
    // The newest one is shown where one looks, too, for a while: the list may be far away on a phone.
    this.newest = h('p', { class: 'newest', hidden: true, 'aria-hidden': 'true', onclick: () => (this.newest.hidden = true) });
    this.append(this.newest);
    this.store.addEventListener('lines', () => {
      const { lines } = this.store;
      this.list.replaceChildren(...lines.slice(-12).map((line) => h('li', {}, line)));
      this.list.scrollTop = this.list.scrollHeight;
      write(this.newest, lines.at(-1) ?? '');
      this.newest.hidden = !this.store.isNews;
      clearTimeout(this.passing);
      this.passing = setTimeout(() => (this.newest.hidden = true), 6000);
    });
  }
}
customElements.define('person-lines', PersonLines);
