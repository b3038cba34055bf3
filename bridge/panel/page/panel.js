// Puts the page together when it is known what plays: a band, or stems.

import { h } from './dom.js';
import { Store } from './store.js';
import './roll.js';
import './band.js';
import './knobs.js';
import './stems.js';

const store = new Store();
const page = document.getElementById('page');
const trouble = document.getElementById('trouble');

function make(tag, more = {}) {
  return Object.assign(document.createElement(tag), { store, ...more });
}

function panic() {
  const button = h('button', { type: 'button', id: 'panic', onclick: () => store.send({ command: 'panic' }) }, 'Panic');
  button.title = store.facts.commands?.panic ?? '';
  return button;
}

/** The pages of the other plug-ins of a DAW. */
function others() {
  const select = h('select', { 'aria-label': 'Plug-in', hidden: true, onchange: () => location.assign(select.value) });
  let known = '';
  const show = () => {
    const links = Object.entries(store.state.instances ?? {});
    if (links.join() === known) return;
    known = links.join();
    select.replaceChildren(...links.map(([name, link]) => h('option', { value: link, selected: name === store.state.instance }, name)));
    select.hidden = links.length < 2;
  };
  store.addEventListener('state', show);
  show();
  return select;
}

function band() {
  return [
    h('header', {}, make('band-transport'), others(), make('chord-now'), panic()),
    h('main', {},
      h('section', { 'aria-label': 'Music', class: 'music' }, make('piano-roll'), make('deadline-strip'), make('band-commands'), make('part-board')),
      h('section', { 'aria-label': 'Takes, chords, presets', class: 'side' },
        make('take-list'), make('answer-list'), make('chord-chart'), make('preset-list'), make('person-lines')),
      h('section', { 'aria-label': 'Settings', class: 'settings' }, h('h2', {}, 'Settings'), make('knob-board'))),
  ];
}

function knob(name, fact) {
  return make('setting-knob', { name, fact });
}

function stems() {
  const { wet, low_latency: low } = store.facts.knobs.monitor; // a plug-in's are the host's
  const strips = store.state.outputs.map((_, index) => make('stem-strip', { index }));
  return [
    h('header', {}, make('stems-state'), others()),
    h('main', {},
      h('section', { 'aria-label': 'Stems', class: 'strips' }, ...strips, make('stem-strip', { index: strips.length })),
      h('section', { 'aria-label': 'Settings, messages', class: 'side' },
        ...(wet ? [h('div', { class: 'knobs' }, knob('wet', wet), knob('low_latency', low)), make('stems-certificate')]
          : [h('p', { class: 'hint' }, 'Levels, mute and solo are parameters of the plug-in: turn them in your DAW. What is typed here is heard where '
            + 'the query of that stem is set to “own words” there.')]),
        make('person-lines'))),
    h('datalist', { id: 'words' }, ...store.facts.words.map((word) => h('option', { value: word }))),
  ];
}

let shown = '';
store.addEventListener('state', () => {
  // Stems are known when the sound is there; their number stays.
  const what = store.kind === 'stems' ? `stems ${store.state.outputs?.length ?? ''}` : store.kind;
  if (what === shown || what === 'stems ') return;
  shown = what;
  document.body.className = store.kind;
  page.replaceChildren(...(store.kind === 'stems' ? stems() : band()));
});
store.addEventListener('state', () => {
  document.title = `genaudio · ${store.state.preset ?? store.kind}`;
});
store.addEventListener('connection', () => {
  clearTimeout(store.away);
  if (store.connected) trouble.hidden = true;
  else {
    store.away = setTimeout(() => {
      trouble.hidden = false;
      trouble.textContent = 'No connection to genaudio: what you see is old. Trying again …';
    }, 1500);
  }
});
window.panel = store; // for whoever looks at the page from outside
