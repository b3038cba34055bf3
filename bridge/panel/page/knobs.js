// A control for every parameter, made from the table of parameters: range, unit, choices, MIDI learn.

import { h, learner, sparing, write } from './dom.js';
import { nameOf } from './roll.js';

const GROUPS = { music: 'Music', player: 'You and the band', transport: 'Transport', engine: 'Engine' };
export const HELD = 400; // ms for which what was just turned is left alone
const WIDEST = 10000; // a slider is of no use for more

/** 'beats_per_bar' -> 'beats per bar' */
const words = (name) => (/^(density|low|high)\./.test(name) ? name.replace('.', ' of ') : name.split('.').pop()).replaceAll('_', ' ').replace(/ ms$/, '');

const rangeOf = ({ low, high, unit, kind }) =>
  low === null || high === null || kind === 'text' || kind === 'choice' ? '' : `; ${low} to ${high}${unit ? ` ${unit}` : ''}`;

export function shownValue(value, fact) {
  if (typeof value === 'number' && !Number.isInteger(value)) value = Number(value.toFixed(2));
  if (typeof value === 'boolean') return value ? 'on' : 'off';
  if (fact.help?.endsWith('note of this part')) return nameOf(value);
  return `${value}${fact.unit ? ` ${value === 1 ? fact.unit.replace(/s$/, '') : fact.unit}` : ''}`;
}

export class SettingKnob extends HTMLElement {
  connectedCallback() {
    const { name, fact, store } = this;
    const id = `knob-${name.replaceAll('.', '-')}`;
    this.dataset.name = name;
    this.send = sparing((value) => store.send({ set: name, value }));
    this.input = this.make(id);
    this.value = h('output', { for: id, 'aria-live': 'off' }); // the control itself says it
    this.learn = fact.learns && learner(store, () => words(name));
    this.append(h('label', { for: id, title: `${fact.help}: ${fact.right}` }, words(name)), this.value, this.input,
      h('p', { id: `${id}-help` }, `${fact.help}${rangeOf(fact)}`));
    if (this.learn) this.append(this.learn);
    this.input.setAttribute('aria-describedby', `${id}-help`);
    this.take = () => this.show();
    store.addEventListener('state', this.take);
    this.show();
  }

  disconnectedCallback() {
    this.store.removeEventListener('state', this.take);
  }

  make(id) {
    const { fact } = this;
    const turned = (value) => {
      this.touched = performance.now();
      write(this.value, shownValue(value, fact));
      this.send(value);
    };
    if (fact.kind === 'switch') {
      return h('input', { id, type: 'checkbox', role: 'switch', onchange: (event) => turned(event.target.checked) });
    }
    if (fact.kind === 'choice') {
      return h('select', { id, onchange: (event) => turned(event.target.value) },
        ...fact.choices.map((choice) => h('option', { value: choice }, choice.replace('_', ' '))));
    }
    if (fact.kind === 'text') {
      return h('input', { id, type: 'text', maxlength: '1000', spellcheck: 'false', onchange: (event) => turned(event.target.value) });
    }
    const span = fact.high - fact.low;
    const step = fact.kind === 'whole' ? 1 : span > 50 ? 1 : span > 5 ? 0.25 : 0.01;
    const type = span > WIDEST ? 'number' : 'range';
    return h('input', { id, type, min: String(fact.low), max: String(fact.high), step: String(step),
      [type === 'range' ? 'oninput' : 'onchange']: (event) => turned(Number(event.target.value)) });
  }

  show() {
    const { name, fact, store } = this;
    const value = store.valueOf(name);
    if (this.learn) this.learn.told(name);
    // What is being turned is not pulled out of the hand by an older value on its way back.
    if (value === undefined || value === null) return; // as the effect has it
    const since = performance.now() - (this.touched ?? -1e9);
    if (since < HELD) {
      clearTimeout(this.later);
      this.later = setTimeout(this.take, HELD - since + 1);
      return;
    }
    write(this.value, fact.kind === 'text' ? '' : shownValue(value, fact));
    if (fact.kind === 'switch') this.input.checked = value;
    else if (document.activeElement !== this.input || this.input.type === 'range') {
      if (this.input.value !== String(value)) this.input.value = String(value);
    }
    if (this.input.type === 'range') this.input.setAttribute('aria-valuetext', shownValue(value, fact));
  }
}
customElements.define('setting-knob', SettingKnob);

/** All of them, by section. */
class KnobBoard extends HTMLElement {
  connectedCallback() {
    const { store } = this;
    const parameters = Object.entries(store.facts.parameters ?? {}).filter(([name]) => name !== 'music.chords');
    for (const [section, title] of Object.entries(GROUPS)) {
      const own = parameters.filter(([name]) => name.startsWith(`${section}.`));
      if (!own.length) continue;
      const knobs = own.map(([name, fact]) => Object.assign(document.createElement('setting-knob'), { name, fact, store }));
      this.append(h('details', { open: section === 'music' || section === 'player' },
        h('summary', {}, title), h('div', { class: 'knobs' }, ...knobs)));
    }
  }
}
customElements.define('knob-board', KnobBoard);
