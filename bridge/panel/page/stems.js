// The page of live isolation: a strip for each stem with its query, picture, level and fader; latency and what was late.

import { colours, h, learner, sharp, sparing, write } from './dom.js';
import { HELD } from './knobs.js';

const FLOOR = -60, TOP = 6; // dB of meters and faders
const COLUMNS = 360, BANDS = 48;
const share = (db) => Math.min(Math.max((db - FLOOR) / (TOP - FLOOR), 0), 1);
const decibels = (db) => (db === '-inf' || !Number.isFinite(Number(db)) ? '−∞' : Number(db).toFixed(1).replace('-', '−'));

/** Black over violet and orange to white, as pictures of spectra are. */
const HEAT = Uint8ClampedArray.from(Array.from({ length: 256 }, (_, level) => {
  const x = level / 255;
  return [255 * Math.min(1.9 * x, 1) * x ** 0.25, 255 * Math.max(1.7 * x - 0.7, 0), 255 * (x < 0.5 ? 1.1 * x : Math.max(2.2 * x - 1.2, 0.55 - 0.8 * (x - 0.5))), 255];
}).flat());

/** One pair of outputs: stem, rest, monitor, or the input. */
class StemStrip extends HTMLElement {
  connectedCallback() {
    const { store, index } = this;
    this.picture = h('canvas', { class: 'picture', width: COLUMNS, height: BANDS, 'aria-hidden': 'true' });
    this.column = this.picture.getContext('2d', { willReadFrequently: true }).createImageData(1, BANDS);
    this.meter = h('canvas', { class: 'meter', role: 'meter', 'aria-valuemin': FLOOR, 'aria-valuemax': TOP });
    this.level = h('span', { class: 'level', 'aria-hidden': 'true' }); // new 25 times a second: the meter says it
    this.setAttribute('role', 'group');
    this.held = [FLOOR, 0];
    this.append(this.head(), this.picture, this.meter, this.level);
    if (this.has('gain')) this.append(...this.fader());
    if (this.has('mute')) this.append(this.switches());
    this.effects = h('div', { class: 'effects' });
    this.append(this.effects);
    store.addEventListener('state', () => this.show());
    store.addEventListener('levels', () => this.draw());
    this.index = index;
    this.show();
  }

  /** Which of the outputs we are: they are called as their queries are, and these change. */
  get name() {
    return this.store.state.outputs?.[this.index] ?? 'input';
  }

  /** The same for a person: in names of knobs there is no space. */
  get called() {
    return this.name.replaceAll('_', ' ');
  }

  get place() {
    return this.index < this.store.state.stems.length ? 'stem' : this.name; // rest, monitor, input
  }

  has(knob) {
    return knob in (this.store.facts.knobs[this.place] ?? {});
  }

  head() {
    if (this.place !== 'stem') {
      const told = { rest: 'Everything else', monitor: 'Monitor: the mix', input: 'Input' };
      return h('h3', {}, told[this.place]);
    }
    const id = `query-${this.index}`;
    this.query = h('input', { id, type: 'text', maxlength: '300', list: 'words', spellcheck: 'false', autocomplete: 'off',
      'aria-describedby': `${id}-near` });
    this.near = h('p', { id: `${id}-near`, class: 'near', role: 'status' });
    return h('form', { onsubmit: (event) => {
      event.preventDefault();
      const query = this.query.value.trim();
      if (query) this.store.send({ query, stem: this.index + 1 });
    } }, h('label', { for: id }, `Stem ${this.index + 1}`), this.query, h('button', { type: 'submit' }, 'Hear'), this.near);
  }

  fader() {
    const [low, high] = this.store.facts.knobs.stem.gain.fader;
    const send = sparing((value) => this.store.send({ set: `gain.${this.name}`, value }));
    this.value = h('output', { class: 'gain', 'aria-live': 'off' });
    this.gain = h('input', { type: 'range', class: 'fader', min: String(low - 1), max: String(high), step: '0.5', oninput: (event) => {
      const db = Number(event.target.value);
      this.touched = performance.now();
      this.told(db < low ? '-inf' : db);
      send(db < low ? '-inf' : db);
    } });
    return [this.gain, this.value];
  }

  told(db) {
    write(this.value, `${decibels(db)} dB`);
    this.gain.setAttribute('aria-valuetext', db === '-inf' ? 'silent' : `${db} decibels`);
  }

  switches() {
    const button = (knob, text) => h('button', { type: 'button', class: knob, 'data-knob': knob, 'aria-pressed': 'false',
      onclick: () => this.store.send({ set: `${knob}.${this.name}`, value: !this.store.values[`${knob}.${this.name}`] }) }, text);
    this.buttons = [button('mute', 'Mute'), button('solo', 'Solo')];
    this.learn = learner(this.store, () => `the level of ${this.called}`);
    return h('div', { class: 'switches' }, ...this.buttons, this.learn);
  }

  show() {
    const { store, name } = this;
    const stem = store.state.stems?.[this.index];
    if (this.query && stem) {
      if (stem.query !== this.known && document.activeElement !== this.query) this.query.value = stem.query;
      if (stem.query !== this.known && this.known !== undefined && this.query.value === this.known) this.query.value = stem.query;
      this.known = stem.query;
      const near = stem.near.map(([word, cosine]) => `${word} ${cosine.toFixed(2)}`).join(' · ');
      write(this.near, near ? `${stem.all_but ? 'all but ' : ''}${near}` : stem.query ? 'no word of this model is near' : 'nothing is asked for');
    }
    if (this.gain) {
      const value = store.values[`gain.${name}`];
      this.gain.setAttribute('aria-label', `Level of ${this.called}`);
      if (this.learn) this.learn.told(`gain.${name}`);
      if (value !== undefined && performance.now() - (this.touched ?? -1e9) > HELD) {
        this.told(value);
        this.gain.value = value === '-inf' ? this.gain.min : String(value);
      }
    }
    for (const button of this.buttons ?? []) {
      const { knob } = button.dataset;
      button.setAttribute('aria-pressed', String(Boolean(store.values[`${knob}.${name}`])));
      button.setAttribute('aria-label', `${knob} ${this.called}`);
    }
    const solo = Object.entries(store.values).some(([knob, on]) => knob.startsWith('solo.') && on);
    this.classList.toggle('silent', this.place !== 'monitor' && this.place !== 'input'
      && Boolean(store.values[`mute.${name}`] || (solo && !store.values[`solo.${name}`])));
    this.meter.setAttribute('aria-label', `Peak of ${this.called}`);
    this.setAttribute('aria-label', this.called);
    this.showEffects(store.state.effects?.[name] ?? []);
  }

  showEffects(chain) {
    const shape = JSON.stringify(chain.map(({ name, left_out: out, parameters }) => [name, out, Object.keys(parameters)])) + this.name;
    if (shape !== this.shape) {
      this.shape = shape;
      this.effects.replaceChildren(...chain.map(({ name, left_out: out, parameters }, i) => h('details', {},
        h('summary', {}, out ? `${name} (left out)` : name),
        ...Object.keys(parameters).map((parameter) => this.effectKnob(`effect.${this.name}.${i + 1}.${parameter}`, parameter, parameters[parameter])))));
    }
  }

  effectKnob(full, parameter, value) {
    const span = this.store.facts.spans[parameter];
    const kind = typeof value === 'boolean' ? 'switch' : typeof value === 'string' ? 'text' : 'number';
    const [low, high] = span ?? [0, 1];
    const fact = { help: full, kind, choices: [], low, high, unit: '', right: `${low} to ${high}`, learns: true };
    return Object.assign(document.createElement('setting-knob'), { name: full, fact, store: this.store });
  }

  draw() {
    const { store } = this;
    const [peak, loud] = store.levels[this.index] ?? [FLOOR, FLOOR];
    const now = performance.now();
    if (peak >= this.held[0] || now - this.held[1] > 1500) this.held = [peak, now];
    const { context: c, width, height } = sharp(this.meter);
    c.fillStyle = colours.ground;
    c.fillRect(0, 0, width, height);
    c.fillStyle = peak > -1 ? colours.danger : peak > -9 ? colours.heard : colours.good;
    c.fillRect(0, 0, share(peak) * width, height);
    c.fillStyle = colours.text;
    c.fillRect(share(loud) * width - 1, 0, 3, height);
    c.fillStyle = this.held[0] > -1 ? colours.danger : colours.quiet;
    c.fillRect(share(this.held[0]) * width - 1, 0, 2, height);
    c.fillStyle = colours.edge;
    c.fillRect(share(0) * width, 0, 1, height);
    write(this.level, `${decibels(this.held[0])} dB  ${loud > -70 ? decibels(loud) : '−∞'} LUFS`);
    if (now - (this.spoken ?? 0) > 1000) {
      this.spoken = now;
      this.meter.setAttribute('aria-valuenow', String(Math.round(Math.max(peak, FLOOR))));
      this.meter.setAttribute('aria-valuetext', `${Math.round(peak)} decibels, ${Math.round(loud)} LUFS`);
    }
    const fresh = store.spectra;
    if (!fresh.length) return;
    const picture = this.picture.getContext('2d');
    const n = Math.min(fresh.length, COLUMNS);
    picture.drawImage(this.picture, -n, 0);
    fresh.slice(-n).forEach((column, i) => {
      for (let band = 0; band < BANDS; band += 1) {
        const level = column.charCodeAt(this.index * BANDS + band) * 4;
        this.column.data.set(HEAT.subarray(level, level + 4), (BANDS - 1 - band) * 4);
      }
      picture.putImageData(this.column, COLUMNS - n + i, 0);
    });
  }
}
customElements.define('stem-strip', StemStrip);

/** How long sound takes, whether any of it was late, and the switch to the input as it is. */
class StemsState extends HTMLElement {
  connectedCallback() {
    const { store } = this;
    this.latency = h('strong', { class: 'place' });
    this.doing = h('span', { class: 'doing', role: 'status' });
    this.late = h('span', { class: 'late' });
    const { bypass } = store.facts.knobs.monitor;
    this.dry = bypass && h('button', { type: 'button', id: 'dry', 'aria-pressed': 'false', title: bypass.help,
      onclick: () => store.send({ set: 'bypass', value: !store.values.bypass }) }, 'Dry');
    this.append(...[h('span', { class: 'about' }, this.latency, h('span', { class: 'leader' }, 'latency')), this.doing, this.late, this.dry].filter(Boolean));
    store.addEventListener('state', () => this.show());
    document.addEventListener('keydown', (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey || event.repeat || event.target.matches?.('input:not([type=range]), select')) return;
      if (event.key === 'd') this.dry?.click();
      else if (event.key >= '1' && event.key <= '8') document.querySelectorAll('stem-strip [data-knob=mute]')[event.key - 1]?.click();
    });
  }

  show() {
    const { state, values } = this.store;
    const figures = state.figures ?? {};
    write(this.latency, `${(state.latency_ms ?? 0).toFixed(1)} ms`);
    const doing = { ready: '', starting: 'The network is starting: dry', dry: 'Dry: this rate is not the model’s' }[state.engine] ?? '';
    write(this.doing, values.bypass ? 'Dry' : doing);
    const other = [['fades', 'times dry'], ['device_xruns', 'xruns'], ['restarts', 'restarts'], ['left_out', 'hops left out']].filter(([name]) => figures[name])
      .map(([name, text]) => ` · ${figures[name]} ${text}`).join('');
    write(this.late, `${figures.underruns ?? 0} late ${figures.underruns === 1 ? 'block' : 'blocks'}${other}`);
    this.late.classList.toggle('missed', figures.underruns > 0);
    this.dry?.setAttribute('aria-pressed', String(Boolean(values.bypass)));
  }
}
customElements.define('stems-state', StemsState);

/** What this machine has shown since it began: for each latency, how many blocks would have been late. */
class StemsCertificate extends HTMLElement {
  connectedCallback() {
    this.rows = h('tbody');
    this.about = h('p', { class: 'hint' });
    this.append(h('h2', {}, 'This machine'), h('table', {}, h('thead', {}, h('tr', {}, h('th', {}, 'With a latency of'),
      h('th', {}, 'blocks late'))), this.rows), this.about);
    this.store.addEventListener('state', () => this.show());
  }

  show() {
    const { state } = this.store;
    const told = JSON.stringify([state.certificate, state.latency_ms]);
    if (told !== this.known) {
      this.known = told;
      this.rows.replaceChildren(...(state.certificate ?? []).map(([ms, late]) => h('tr',
        { class: Math.abs(ms - state.latency_ms) < 0.06 ? 'now' : undefined }, h('td', {}, `${ms.toFixed(1)} ms`), h('td', {}, String(late)))));
    }
    const { load, compute_ms_p99: p99 } = state.figures ?? {};
    write(this.about, `Since it began, ${state.blocks ?? 0} blocks of ${state.block} at ${state.sample_rate} Hz; the network takes `
      + `${Math.round(100 * (load ?? 0))}% of its time, ${p99 ?? 0} ms at worst of 100. A longer run: genaudio bench stems --certify.`);
  }
}
customElements.define('stems-certificate', StemsCertificate);
