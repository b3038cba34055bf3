// Puts the page together when it is known what plays: a band, or stems.

import { h } from './dom.js';
import { Store } from './store.js';
import './roll.js';
import './band.js';
import './knobs.js';

const store = new Store();
const page = document.getElementById('page');
const trouble = document.getElementById('trouble');

function make(tag) {
  return Object.assign(document.createElement(tag), { store });
}

function panic() {
  const button = h('button', { type: 'button', id: 'panic', onclick: () => store.send({ command: 'panic' }) }, 'Panic');
  button.title = store.facts.commands?.panic ?? '';
  return button;
}

function band() {
  return [
    h('header', {}, make('band-transport'), make('chord-now'), panic()),
    h('main', {},
      h('section', { 'aria-label': 'Music', class: 'music' }, make('piano-roll'), make('deadline-strip'), make('band-commands')),
      h('section', { 'aria-label': 'Takes, chords, presets', class: 'side' },
        make('take-list'), make('chord-chart'), make('preset-list'), make('person-lines')),
      h('section', { 'aria-label': 'Settings', class: 'settings' }, h('h2', {}, 'Settings'), make('knob-board'))),
  ];
}

store.addEventListener('hello', () => {
  page.replaceChildren(...band());
  document.body.className = store.kind;
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
